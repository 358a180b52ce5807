"""What only some services need: tables of hashing schedulers, persistence, timeouts of their own.

One block per service beside its record, so that the records of all services stay small.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from ipvs.netmask import mask_words
from runtime.pointers import view

MH_FALLBACK = 1  # mh: look for another server when the one chosen is not usable
MH_PORT = 2  # mh: hash the source port too
HASH_QID = 4  # conhash: hash the gQUIC connection id
FLAGS = {"mh_fallback": MH_FALLBACK, "mh_port": MH_PORT, "hash_qid": HASH_QID}


class CallStruct(ctypes.Structure):
    """What a user-written scheduler is called with (ipvs/user_call.py)."""

    _fields_ = [
        ("ids", ctypes.c_int64),  # the service's list of real server ids
        ("count", ctypes.c_int64),
        ("dests", ctypes.c_int64),
        ("stats", ctypes.c_int64),
        ("now", ctypes.c_int64),  # ms
        ("source", ctypes.c_int64),
        ("source_port", ctypes.c_int64),
        ("destination_port", ctypes.c_int64),
        ("protocol", ctypes.c_int64),
        ("service_address", ctypes.c_int64),
        ("service_port", ctypes.c_int64),
        ("state", ctypes.c_int64),  # the scheduler's own
        ("faults", ctypes.c_int64),
    ]


class ExtraStruct(ctypes.Structure):
    """Per-service block of one worker (process memory)."""

    _fields_ = [
        ("table", ctypes.c_int64),  # lookup table of mh or conhash, see their modules
        ("table_size", ctypes.c_int64),  # elements of it
        ("flags", ctypes.c_int64),
        ("function", ctypes.c_int64),  # address of a user-written scheduler's machine code
        ("persistent", ctypes.c_int64),  # ms a template lives, 0 = no persistence
        ("mask_high", ctypes.c_int64),  # which part of a client's address counts, as on the wire:
        ("mask_low", ctypes.c_int64),  # IPv4 in the low 32 bits of this one
        ("quic_length", ctypes.c_int64),  # bytes of QUIC-LB server ids, 0 = none
        ("quic_config", ctypes.c_int64),
        ("quic_ids", ctypes.c_int64),  # ServerIdStruct[quic_count], sorted
        ("quic_count", ctypes.c_int64),
        ("call", CallStruct),
    ]


Extra = view(ExtraStruct)
Call = view(CallStruct)
CALL_AT = ExtraStruct.call.offset


class ExtraMemory:
    """The block of one service with everything it points to; lives as long as it may be used."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.struct = ExtraStruct()
        self.server_ids: Any = None  # of QUIC-LB
        self.scheduler = ""  # name of the user-written one
        self.address = ctypes.addressof(self.struct)
        extra = Extra(self.address)
        flags = body.get("flags") or ()
        extra.flags = sum(bit for name, bit in FLAGS.items() if name in flags)
        table: bytes = body.get("table") or b""
        # Rounded up: the table begins with scratch space, and words are read whole.
        self.table = ctypes.create_string_buffer(table, len(table) + 8)
        if table:
            extra.table = ctypes.addressof(self.table)
            extra.table_size = int.from_bytes(table[:4], "little")

    def persist(self, body: Mapping[str, Any], longest: int) -> None:
        """Enter time (``longest`` seconds at most) and mask of persistence."""
        extra = Extra(self.address)
        extra.persistent = min(body.get("persistent") or 0, longest) * 1000
        extra.mask_high, extra.mask_low = mask_words(body.get("netmask"), ":" in body["addr"])

    def go_on_from(self, other: ExtraMemory) -> None:
        """The same servers with other options: the user's scheduler keeps its state."""
        Extra(self.address).call.state = Extra(other.address).call.state
