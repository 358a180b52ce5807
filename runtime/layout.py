"""Field tables of ctypes structures: offset, width, sign, byte order, array shape."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

_UNSIGNED = {ctypes.c_uint8: 1, ctypes.c_uint16: 2, ctypes.c_uint32: 4}
_SIGNED = {ctypes.c_int8: 1, ctypes.c_int16: 2, ctypes.c_int32: 4, ctypes.c_int64: 8}


@dataclass(frozen=True)
class Field:
    """One field (or the elements of an array field); sizes and offsets in bytes."""

    name: str
    offset: int
    width: int
    signed: bool
    big_endian: bool
    struct: Any = None
    count: int | None = None
    stride: int = 0


def _scalar(kind: Any) -> tuple[int, bool, bool] | None:
    swapped: Any = getattr(kind, "__ctype_be__", None)
    big = swapped is kind and ctypes.sizeof(swapped) > 1
    native = kind.__ctype_le__ if big else kind
    if native in _UNSIGNED:
        return _UNSIGNED[native], False, big
    if native in _SIGNED:
        return _SIGNED[native], True, big
    return None


def _field(name: str, offset: int, kind: Any) -> Field:
    count, stride = None, 0
    if hasattr(kind, "_length_"):
        count, kind = kind._length_, kind._type_
        stride = ctypes.sizeof(kind)
    scalar = _scalar(kind)
    if scalar is not None:
        width, signed, big = scalar
        return Field(name, offset, width, signed, big, None, count, stride)
    if isinstance(kind, type) and issubclass(kind, ctypes.Structure):
        return Field(name, offset, 0, False, False, kind, count, stride)
    raise TypeError(f"field {name}: {kind} has no compiled form (64-bit fields must be c_int64)")


@cache
def fields_of(struct: type[ctypes.Structure]) -> dict[str, Field]:
    """Name -> Field of ``struct``, inherited fields first.

    Raises TypeError for a field kind compiled code cannot express (floats, pointers, c_uint64,
    bit fields) and for the reserved name ``ptr``.
    """
    result: dict[str, Field] = {}
    for base in reversed(struct.__mro__):
        for entry in base.__dict__.get("_fields_", []):
            if len(entry) != 2 or entry[0] == "ptr":
                raise TypeError(f"{struct.__name__}.{entry[0]}: bit fields and 'ptr' not allowed")
            name, kind = entry
            result[name] = _field(name, getattr(struct, name).offset, kind)
    return result
