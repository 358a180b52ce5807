"""Typed pointers: one ``ctypes.Structure`` declaration read and written by compiled code.

``Conn = view(ConnEntry)`` makes a callable: ``conn = Conn(address)`` is a pointer; ``conn.state``
loads one field and ``conn.state = x`` stores it, each as a single unaligned access of the field's
width, byte-swapped for fields of a ``BigEndianStructure``.  Every value is an int64: unsigned
fields are zero-extended, stores truncate.  64-bit fields must be declared ``c_int64`` so that both
modes see the same signed number.  ``conn.ptr`` is the address.  Array fields are indexed
(``table.slot[i]``), nested structures give pointers.  In plain Python the same names check array
bounds.
"""

from __future__ import annotations

import ctypes
import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import (
    AbstractTemplate,
    AttributeTemplate,
    infer_getattr,
    infer_global,
    signature,
)
from numba.extending import (
    lower_builtin,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
    typeof_impl,
)

from runtime.layout import Field, fields_of
from runtime.lowering import I64, register
from runtime.plainview import PlainArray, plain_view

_VIEWS: dict[type, View] = {}


class View:
    """Callable that turns an address into a typed pointer to ``struct``."""

    def __init__(self, struct: type[ctypes.Structure]) -> None:
        self.struct = struct
        self.size = ctypes.sizeof(struct)
        self.plain = plain_view(struct)

    def __call__(self, address: int) -> Any:
        return self.plain(address)

    def offset(self, name: str) -> int:
        """Byte offset of field ``name``."""
        return fields_of(self.struct)[name].offset

    def __repr__(self) -> str:
        return f"<view {self.struct.__name__}>"


class PointerType(types.Type):
    """numba type of a pointer to one ctypes structure."""

    def __init__(self, struct: type[ctypes.Structure]) -> None:
        self.struct = struct
        super().__init__(name=f"Pointer({struct.__module__}.{struct.__qualname__})")


class ArrayPointerType(types.Type):
    """numba type of a pointer to the first element of an array field."""

    def __init__(self, struct: type[ctypes.Structure], name: str) -> None:
        self.struct = struct
        self.field = name
        super().__init__(name=f"Array({struct.__module__}.{struct.__qualname__}.{name})")


@register_model(PointerType)
class _PointerModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, I64)


@register_model(ArrayPointerType)
class _ArrayPointerModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, I64)


def view(struct: type[ctypes.Structure]) -> View:
    """The view of ``struct`` (one per structure); raises TypeError for fields it cannot express."""
    if struct in _VIEWS:
        return _VIEWS[struct]
    result = _VIEWS[struct] = View(struct)
    pointer = PointerType(struct)

    class Template(AbstractTemplate):
        key = result

        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 1 and isinstance(args[0], types.Integer):
                return signature(pointer, types.int64)
            return None

    register(result, Template)

    @lower_builtin(result, types.int64)
    def make(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return args[0]

    return result


@typeof_impl.register(View)
def _typeof_view(value: View, context: Any) -> Any:
    from runtime.lowering import _TEMPLATES

    return _TEMPLATES[id(value)]


def _type_of(struct: type[ctypes.Structure], field: Field) -> types.Type:
    if field.count is not None:
        return ArrayPointerType(struct, field.name)
    if field.struct is not None:
        return PointerType(field.struct)
    return types.int64


@infer_getattr
class _PointerAttributes(AttributeTemplate):
    key = PointerType

    def generic_resolve(self, pointer: Any, name: str) -> Any:  # type: ignore[override]
        if name == "ptr":
            return types.int64
        field = fields_of(pointer.struct).get(name)
        return None if field is None else _type_of(pointer.struct, field)


def _load(builder: ir.IRBuilder, address: ir.Value, field: Field) -> ir.Value:
    width = ir.IntType(field.width * 8)
    value = builder.load(builder.inttoptr(address, width.as_pointer()), align=1)
    if field.big_endian and field.width > 1:
        value = builder.bswap(value)
    if field.width == 8:
        return value
    return builder.sext(value, I64) if field.signed else builder.zext(value, I64)


def _store(builder: ir.IRBuilder, address: ir.Value, field: Field, value: ir.Value) -> None:
    width = ir.IntType(field.width * 8)
    narrow = value if field.width == 8 else builder.trunc(value, width)
    if field.big_endian and field.width > 1:
        narrow = builder.bswap(narrow)
    builder.store(narrow, builder.inttoptr(address, width.as_pointer()), align=1)


@lower_getattr_generic(PointerType)
def _get(context: Any, builder: ir.IRBuilder, kind: Any, value: ir.Value, name: str) -> ir.Value:
    if name == "ptr":
        return value
    field = fields_of(kind.struct)[name]
    address = builder.add(value, ir.Constant(I64, field.offset))
    return address if field.count is not None or field.struct else _load(builder, address, field)


@lower_setattr_generic(PointerType)
def _set(context: Any, builder: ir.IRBuilder, sig: Any, args: Any, name: str) -> None:
    field = fields_of(sig.args[0].struct)[name]
    address = builder.add(args[0], ir.Constant(I64, field.offset))
    value = context.cast(builder, args[1], sig.args[1], types.int64)
    _store(builder, address, field, value)


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], ArrayPointerType) and isinstance(args[1], types.Integer):
            element = fields_of(args[0].struct)[args[0].field]
            result = PointerType(element.struct) if element.struct else types.int64
            return signature(result, args[0], types.int64)
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], ArrayPointerType) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.int64, types.int64)
        return None


def _element(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, field: Field) -> ir.Value:
    return builder.add(base, builder.mul(index, ir.Constant(I64, field.stride)))


@lower_builtin(operator.getitem, ArrayPointerType, types.int64)
def _getitem(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    field = fields_of(sig.args[0].struct)[sig.args[0].field]
    address = _element(builder, args[0], args[1], field)
    return address if field.struct else _load(builder, address, field)


@lower_builtin(operator.setitem, ArrayPointerType, types.int64, types.int64)
def _setitem(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    field = fields_of(sig.args[0].struct)[sig.args[0].field]
    _store(builder, _element(builder, args[0], args[1], field), field, args[2])
    return context.get_dummy_value()


@infer_getattr
class _ArrayAttributes(AttributeTemplate):
    key = ArrayPointerType

    def resolve_ptr(self, pointer: ArrayPointerType) -> types.Type:
        return types.int64


@lower_getattr_generic(ArrayPointerType)
def _array_get(context: Any, b: ir.IRBuilder, kind: Any, value: ir.Value, name: str) -> ir.Value:
    return value


__all__ = ["PlainArray", "View", "view"]
