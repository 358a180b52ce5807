"""DPDK's shared libraries through ctypes: loading, EAL start and stop, memzones, mempools.

Control plane only: nothing here runs per packet.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

from netdev.abi import ABIS, Abi, Mempool, Memzone

_log = logging.getLogger(__name__)
BASE_ADDRESS = 0x2000000000  # low enough that no mapping of a Python process is ever there


class DpdkError(RuntimeError):
    """DPDK is missing, of an unknown ABI, or refused a call; the text says which and why."""


_LIBRARIES = ("eal", "mempool", "mbuf", "ethdev", "ring", "net", "kvargs")


def library_folder() -> str:
    """Folder of the EAL plug-ins (drivers) that go with the loaded ABI, for messages."""
    return f"/usr/lib/x86_64-linux-gnu/dpdk/pmds-{abi().number}.0"


@cache
def _libraries() -> tuple[Abi, dict[str, Any]]:
    missing = ""
    for number in sorted(ABIS, reverse=True):
        loaded = {}
        try:
            for name in _LIBRARIES:
                path = f"librte_{name}.so.{number}"
                loaded[name] = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL, use_errno=True)
        except OSError as error:
            missing = str(error)
            continue
        return ABIS[number], loaded
    known = ", ".join(f"{a.release} (ABI {a.number})" for a in ABIS.values())
    raise DpdkError(f"no DPDK library of a known version found; known: {known}; {missing}")


def abi() -> Abi:
    """The ABI of the installed DPDK.  Raises DpdkError when none that we know is installed."""
    return _libraries()[0]


def cdll(name: str) -> Any:
    """The CDLL of ``librte_<name>`` (eal, mempool, mbuf, ethdev, ring, net)."""
    return _libraries()[1][name]


def address_of(lib: str, symbol: str) -> int:
    """Address of an exported function or variable, for calls from compiled code."""
    value = ctypes.cast(getattr(cdll(lib), symbol), ctypes.c_void_p).value
    assert value is not None
    return value


def dpdk_errno() -> int:
    """rte_errno of the calling thread (a thread-local variable of librte_eal)."""
    return ctypes.c_int.in_dll(cdll("eal"), "per_lcore__rte_errno").value


@contextmanager
def _captured() -> Iterator[IO[bytes]]:
    """File that takes what C code writes to stdout and stderr meanwhile.

    EAL answers a bad argument with two pages of usage on stdout; the operator wants the reason.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as taken:
        saved = [os.dup(1), os.dup(2)]
        for fd in (1, 2):
            os.dup2(taken.fileno(), fd)
        try:
            yield taken
        finally:
            ctypes.CDLL(None).fflush(None)
            for fd, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, fd)
                os.close(copy)


def _reasons(taken: IO[bytes]) -> list[str]:
    taken.seek(0)
    lines = [line.strip() for line in taken.read().decode(errors="replace").splitlines()]
    return [line for line in lines if re.match(r"[A-Za-z_]+(\(\))?: ", line)]


def start(arguments: Sequence[str]) -> int:
    """rte_eal_init with ``arguments`` (without program name); returns the count EAL consumed.

    What EAL says is logged; raises DpdkError with its reasons when it refuses.
    """
    words = [b"dpvs"] + [argument.encode() for argument in arguments]
    vector = (ctypes.c_char_p * (len(words) + 1))(*words)
    function = cdll("eal").rte_eal_init
    with _captured() as taken:
        result = function(len(words), vector)
        ctypes.CDLL(None).fflush(None)
        said = _reasons(taken)
    for line in said:
        _log.info("%s", line)
    if result < 0:
        why = "; ".join(said[:4]) or "no reason given"
        raise DpdkError(f"DPDK did not start: {why} (arguments: {' '.join(arguments)})")
    return int(result)


def cleanup() -> None:
    """rte_eal_cleanup: releases hugepages and the multi-process socket of this process."""
    cdll("eal").rte_eal_cleanup()


def tsc_hz() -> int:
    """Frequency of the time stamp counter in Hz, as calibrated by EAL."""
    function = cdll("eal").rte_get_tsc_hz
    function.restype = ctypes.c_uint64
    return int(function())


def remove_files(prefix: str) -> list[str]:
    """Remove what a DPDK process with this file prefix leaves when killed; returns the paths."""
    removed = []
    for root in ("/var/run/dpdk", f"{os.environ.get('XDG_RUNTIME_DIR', '/tmp')}/dpdk"):
        folder = Path(root) / prefix
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(str(folder))
    huge = Path("/dev/hugepages")
    for path in huge.glob(f"{prefix}map_*") if huge.is_dir() else ():
        try:
            path.unlink()
            removed.append(str(path))
        except OSError:
            continue
    return removed


def memzone_reserve(name: str, size: int, align: int = 64) -> int:
    """Address of a new zero-filled memzone of ``size`` bytes in hugepages; DpdkError if refused."""
    function = cdll("eal").rte_memzone_reserve_aligned
    function.restype = ctypes.c_void_p
    function.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
    ]
    socket_any, flags = -1, 0
    zone = function(name.encode(), size, socket_any, flags, align)
    if not zone:
        raise DpdkError(
            f"no hugepage memory for {name} ({size >> 20} MB): {os.strerror(dpdk_errno())}; "
            "raise global_defs/hugepages or make the table smaller"
        )
    address = int(Memzone(zone).addr)
    ctypes.memset(address, 0, size)
    return address


def memzone_find(name: str) -> tuple[int, int] | None:
    """(address, length) of a memzone some process of this instance reserved, or None."""
    function = cdll("eal").rte_memzone_lookup
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_char_p]
    zone = function(name.encode())
    if not zone:
        return None
    found = Memzone(zone)
    return int(found.addr), int(found.len)


def pool_create(name: str, count: int, cache_size: int, data_room: int = 2048 + 128) -> int:
    """rte_pktmbuf_pool_create: address of a pool of ``count`` mbufs.  Raises DpdkError."""
    function = cdll("mbuf").rte_pktmbuf_pool_create
    function.restype = ctypes.c_void_p
    function.argtypes = [
        ctypes.c_char_p,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.c_uint16,
        ctypes.c_uint16,
        ctypes.c_int,
    ]
    pool = function(name.encode(), count, cache_size, 0, data_room, -1)
    if not pool:
        raise DpdkError(
            f"no memory for mbuf pool {name} of {count} mbufs: {os.strerror(dpdk_errno())}"
        )
    return int(pool)


def pool_find(name: str) -> int:
    """Address of a mempool by name, 0 when there is none."""
    function = cdll("mempool").rte_mempool_lookup
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_char_p]
    return int(function(name.encode()) or 0)


def pool_counts(pool: int) -> tuple[int, int]:
    """(available, in use) mbufs of a pool; cached ones count as available."""
    available = cdll("mempool").rte_mempool_avail_count
    available.argtypes = [ctypes.c_void_p]
    available.restype = ctypes.c_uint
    used = cdll("mempool").rte_mempool_in_use_count
    used.argtypes = [ctypes.c_void_p]
    used.restype = ctypes.c_uint
    return int(available(pool)), int(used(pool))


def pool_dequeue(pool: int) -> int:
    """Address of the dequeue function of the pool's mempool driver (see netdev/mbuf.py)."""
    table = address_of("mempool", "rte_mempool_ops_table")
    layout = abi()
    element = table + layout.ops_table_offset + int(Mempool(pool).ops_index) * layout.ops_size
    return int(ctypes.c_int64.from_address(element + layout.ops_dequeue).value)
