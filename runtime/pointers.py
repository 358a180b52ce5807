"""Typed pointers: one ``ctypes.Structure`` declaration read and written by compiled code.

``Conn = view(ConnEntry)`` makes a callable: ``conn = Conn(address)`` is a pointer; ``conn.state``
loads one field and ``conn.state = x`` stores it, each as a single unaligned access of the field's
width, byte-swapped for fields of a ``BigEndianStructure``.  Every value is an int64: unsigned
fields are zero-extended, stores truncate.  64-bit fields must be declared ``c_int64`` so that both
modes see the same signed number.  ``conn.ptr`` is the address.  Array fields are indexed
(``table.slot[i]``), nested structures give pointers.  In plain Python the same names check array
bounds.  What a view is to the compiler: runtime/numba_pointers.py.
"""

from __future__ import annotations

import ctypes
from typing import Any

from runtime.layout import fields_of
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


def view(struct: type[ctypes.Structure]) -> View:
    """The view of ``struct`` (one per structure); raises TypeError for fields it cannot express."""
    if struct not in _VIEWS:
        _VIEWS[struct] = View(struct)
    return _VIEWS[struct]


__all__ = ["PlainArray", "View", "view"]
