"""What the compiler makes of a typed pointer (runtime/pointers.py): loads and stores of fields."""

from __future__ import annotations

import ctypes
import operator
from typing import Any

import numba.core.types
from llvmlite import ir
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
from runtime.lowering import I64
from runtime.pointers import View

types: Any = numba.core.types  # it has no type information of its own
_TEMPLATES: dict[View, Any] = {}


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


@typeof_impl.register(View)
def _typeof_view(value: View, context: Any) -> Any:
    if value not in _TEMPLATES:
        pointer = PointerType(value.struct)

        class Template(AbstractTemplate):
            key = value

            def generic(self, args: Any, kws: Any) -> Any:
                if len(args) == 1 and isinstance(args[0], types.Integer):
                    return signature(pointer, types.int64)
                return None

        @lower_builtin(value, types.int64)
        def make(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            return args[0]

        _TEMPLATES[value] = types.Function(Template)
    return _TEMPLATES[value]


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
