"""The interpreter's side of runtime/pointers.py: the same names over ``from_address``."""

from __future__ import annotations

import ctypes
from typing import Any

from runtime.layout import Field, fields_of

_KINDS = {
    (1, False): ctypes.c_uint8,
    (2, False): ctypes.c_uint16,
    (4, False): ctypes.c_uint32,
    (1, True): ctypes.c_int8,
    (2, True): ctypes.c_int16,
    (4, True): ctypes.c_int32,
    (8, True): ctypes.c_int64,
}


def _kind(field: Field) -> Any:
    native: Any = _KINDS[field.width, field.signed]
    return native.__ctype_be__ if field.big_endian and field.width > 1 else native


class PlainArray:
    """Array field: indexable, bounds checked (an array declared with length 0 is open-ended)."""

    __slots__ = ("field", "kind", "ptr")

    def __init__(self, ptr: int, field: Field) -> None:
        self.ptr = ptr
        self.field = field
        self.kind = plain_view(field.struct) if field.struct else _kind(field)

    def _at(self, index: int) -> int:
        count = self.field.count
        if index < 0 or (count and index >= count):
            raise IndexError(f"{self.field.name}[{index}] outside 0..{count}")
        return self.ptr + index * self.field.stride

    def __getitem__(self, index: int) -> Any:
        if self.field.struct:
            return self.kind(self._at(index))
        return self.kind.from_address(self._at(index)).value

    def __setitem__(self, index: int, value: int) -> None:
        self.kind.from_address(self._at(index)).value = int(value)


def _property(field: Field) -> property:
    offset = field.offset
    if field.count is not None:
        return property(lambda self: PlainArray(self.ptr + offset, field))
    if field.struct is not None:
        nested = plain_view(field.struct)
        return property(lambda self: nested(self.ptr + offset))
    kind = _kind(field)

    def get(self: Any) -> int:
        return int(kind.from_address(self.ptr + offset).value)

    def put(self: Any, value: int) -> None:
        kind.from_address(self.ptr + offset).value = int(value)

    return property(get, put)


_PLAIN: dict[type, Any] = {}


def plain_view(struct: type[ctypes.Structure]) -> Any:
    """Class whose instances are pointers to ``struct`` in plain Python."""
    if struct not in _PLAIN:
        body: dict[str, Any] = {"__slots__": ("ptr",)}

        def init(self: Any, ptr: int) -> None:
            self.ptr = ptr

        def describe(self: Any) -> str:
            rows = ", ".join(f"{name}={getattr(self, name)!r}" for name in fields_of(struct))
            return f"{struct.__name__}({rows})"

        body.update(__init__=init, __repr__=describe)
        body.update((name, _property(field)) for name, field in fields_of(struct).items())
        _PLAIN[struct] = type(struct.__name__, (), body)
    return _PLAIN[struct]
