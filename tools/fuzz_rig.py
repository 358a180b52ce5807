"""A worker of its own for the fuzzer: the real compiled path between two ports of ctypes memory."""

from __future__ import annotations

import ctypes
import struct
from collections import deque
from typing import Any

from ipvs import table
from ipvs.apply import Applier, mac_number
from ipvs.context import Ipvs
from ipvs.datagram_table import age_datagrams
from ipvs.expire import expire
from ipvs.loop import flush_ports
from ipvs.poll import poll_ports
from ipvs.sweep import sweep
from ipvs.worker import Worker, shared_offsets
from netdev.abi import HEADROOM, FastPathStruct
from netdev.port import Port
from stack.context import Stack
from stack.drops import DROP_SLOTS, REASONS
from stack.events import drain
from stack.mld_table import MldTable
from stack.upkeep import age
from tools.fuzz_frames import MACS, checksum
from tools.fuzz_mutate import ROOM

GUARD = b"\xa5" * 64  # behind the data room of every mbuf: nobody may write there
STRIDE = 128 + HEADROOM + ROOM + len(GUARD)
START = 0xFFFFFFFF - 20_000  # ms: the clock wraps 20 seconds into a run
BURST = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
FREE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


class FuzzError(AssertionError):
    """An invariant that does not hold; the text says which."""


def require(condition: bool, text: str) -> None:
    """Raise FuzzError(text) unless ``condition``."""
    if not condition:
        raise FuzzError(text)


class Pool:
    """Mbufs in one block of memory, with a count of where each is."""

    def __init__(self, count: int) -> None:
        self.memory = bytearray(count * STRIDE)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.count = count
        self.out = bytearray(count)  # 1: handed out
        self.free: deque[int] = deque(range(count))
        self.freed = self.allocated = 0
        self.errors: list[str] = []
        for number in range(count):
            end = (number + 1) * STRIDE
            self.memory[end - len(GUARD) : end] = GUARD
        self.dequeue, self.free_bulk = BURST(self._dequeue), FREE(self._free)

    def take(self, frame: bytes, segments: int = 1) -> int:
        """Address of an mbuf that holds ``frame``."""
        require(len(frame) <= ROOM, f"a frame of {len(frame)} bytes fits no mbuf")
        number = self.free.popleft()
        self.out[number] = 1
        at = number * STRIDE
        address = self.base + at
        # rte_mbuf: buf_addr, iova, data_off, refcnt, nb_segs, port, ol_flags ... (netdev/abi.py)
        size = len(frame)
        struct.pack_into("<QQHHHHQ", self.memory, at, address + 128, 0, HEADROOM, 1, segments, 9, 0)
        struct.pack_into("<IIHHI", self.memory, at + 32, 0, size, size & 0xFFFF, 0, 0)
        struct.pack_into("<HQQQ", self.memory, at + 54, HEADROOM + ROOM, 0, 0, 0)
        begin = at + 128 + HEADROOM
        self.memory[begin : begin + size] = frame
        return address

    def give(self, address: int) -> bytes:
        """Take an mbuf back; its frame.  Errors are noted: this runs inside a C callback."""
        number, rest = divmod(address - self.base, STRIDE)
        if rest or not 0 <= number < self.count or not self.out[number]:
            self.errors.append(f"mbuf {address:#x} given back twice or never handed out")
            return b""
        self.out[number] = 0
        self.free.append(number)
        at = number * STRIDE
        offset, refs, segments = struct.unpack_from("<HHH", self.memory, at + 16)
        size, length = struct.unpack_from("<IH", self.memory, at + 36)
        if refs != 1 or offset + size > HEADROOM + ROOM or (segments == 1 and size != length):
            self.errors.append(f"mbuf header damaged: {refs=} {offset=} {size=} {length=}")
            return b""
        return bytes(self.memory[at + 128 + offset : at + 128 + offset + size])

    def _dequeue(self, pool: int, array: int, count: int) -> int:
        if not self.free:
            return -2
        ctypes.c_int64.from_address(array).value = self.take(b"")
        self.allocated += 1
        return 0

    def _free(self, array: int, count: int) -> int:
        for address in (ctypes.c_int64 * count).from_address(array):
            self.give(address)
        self.freed += count
        return 0

    def guards(self) -> bool:
        """True when no guard was written to."""
        size = len(GUARD)
        return all(
            self.memory.startswith(GUARD, end - size)
            for end in range(STRIDE, self.count * STRIDE + 1, STRIDE)
        )


class FuzzPort:
    """A port: what ``incoming`` holds is received, what is sent is checked and kept a while."""

    def __init__(self, pool: Pool, index: int) -> None:
        self.pool, self.index = pool, index
        self.incoming: list[tuple[bytes, int]] = []
        self.sent: deque[bytes] = deque(maxlen=256)
        self.received = self.transmitted = 0
        self.refuse = 0
        self.queues = (ctypes.c_int64 * 1)(index)
        self.rx, self.tx = BURST(self._rx), BURST(self._tx)
        self.fast = FastPathStruct()
        self.fast.rx_burst = ctypes.cast(self.rx, ctypes.c_void_p).value
        self.fast.tx_burst = ctypes.cast(self.tx, ctypes.c_void_p).value
        self.fast.rx_queues = self.fast.tx_queues = ctypes.addressof(self.queues)

    def _rx(self, queue: int, array: int, limit: int) -> int:
        frames, self.incoming = self.incoming[:limit], self.incoming[limit:]
        slots = (ctypes.c_int64 * limit).from_address(array)
        for at, (frame, segments) in enumerate(frames):
            slots[at] = self.pool.take(frame, segments)
        self.received += len(frames)
        return len(frames)

    def _tx(self, queue: int, array: int, count: int) -> int:
        taken = max(0, count - self.refuse)
        for address in (ctypes.c_int64 * taken).from_address(array):
            frame = self.pool.give(address)
            fault = self._fault(frame)
            if fault:
                self.pool.errors.append(f"port {self.index} sent {fault}: {frame.hex()}")
            self.sent.append(frame)
        self.transmitted += taken
        return taken

    def _fault(self, frame: bytes) -> str:
        """What is wrong with a frame we sent, or nothing."""
        if len(frame) < 34 or frame[6:12] != MACS[self.index]:
            return "a runt or a foreign source MAC"
        if frame[12:14] == b"\x08\x06":
            return ""
        if frame[12:14] == b"\x86\xdd":
            length = 54 + (frame[18] << 8 | frame[19])
            return "" if frame[14] >> 4 == 6 and length == len(frame) else "a wrong IPv6 header"
        size = (frame[14] & 15) * 4
        total = frame[16] << 8 | frame[17]
        if frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4 or size < 20:
            return "no IPv4"
        if checksum(frame[14 : 14 + size]) != 0:
            return "a wrong IP checksum"
        return "" if size <= total <= len(frame) - 14 else "a wrong IP length"


class FuzzRig:
    """One worker, two ports, ``capacity`` connections, ``mbufs`` packet buffers."""

    def __init__(self, capacity: int = 4096, mbufs: int = 1024) -> None:
        self.pool = Pool(mbufs)
        self.ports = [FuzzPort(self.pool, index) for index in range(2)]
        _, size = shared_offsets()
        self.shared = (ctypes.c_uint8 * size)()
        self.worker = Worker(0, 1, ctypes.addressof(self.shared), 1_000_000_000)
        self.address = self.worker.address
        self.context: Any = Ipvs(self.address)
        self.stack: Any = Stack(self.context.stack)
        self.now = self.stack.now = START
        MldTable(self.stack.mld).seed = 1  # when reports are sent must not differ between runs
        calls = (self.pool.dequeue, self.pool.free_bulk)
        self.worker.set_calls(1, *(ctypes.cast(c, ctypes.c_void_p).value or 0 for c in calls))
        for port, mac in zip(self.ports, MACS, strict=True):
            self.worker.add_port(ctypes.addressof(port.fast), mac.hex(":"), 0, 0, 1500)
            if mac_number(mac.hex(":")) != Port(self.stack.ports[port.index]).mac:
                raise FuzzError("port set up with another MAC")
        self.table_memory = (ctypes.c_uint8 * (table.table_bytes(capacity) + 64))()
        self.table = (ctypes.addressof(self.table_memory) + 63) & ~63
        self.context.table = self.table
        self.context.index = self.table + table.INDEX_AT
        table.initialise(self.table, capacity, START)
        self.applier = Applier(self.worker, 1)

    def step(self, ms: int) -> None:
        """One iteration of the worker's loop, ``ms`` after the last."""
        self.now = self.stack.now = (self.now + ms) & 0xFFFFFFFF
        poll_ports(self.address)
        expire(self.address, 64)
        age(self.context.stack, 64)
        age_datagrams(self.address, 64)
        sweep(self.address, 16)
        flush_ports(self.context.stack)
        drain(self.stack.events)
        if self.pool.errors:
            raise FuzzError(self.pool.errors[0])

    def drops(self) -> dict[str, int]:
        """Drop counters that are not zero, by name."""
        counts = (ctypes.c_int64 * DROP_SLOTS).from_address(self.stack.drops)
        for number in range(DROP_SLOTS):
            require(not counts[number] or number in REASONS, f"drop reason {number} has no name")
        return {name: counts[number] for number, (name, _) in REASONS.items() if counts[number]}
