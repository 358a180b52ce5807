"""Functions of shared libraries whose symbols were stripped: where they begin."""

from __future__ import annotations

import bisect
import mmap
import struct
from functools import cache
from pathlib import Path

from runtime.perfmap_elf import Elf

# Encodings of .eh_frame_hdr that linkers write: count as u4, table of s4 relative to the section.
_COUNT_U4, _TABLE_S4 = 0x03, 0x3B


def starts_in(section: memoryview, address: int) -> list[int]:
    """Addresses at which functions begin, from a .eh_frame_hdr section at ``address``."""
    if len(section) < 12 or section[0] != 1 or (section[2], section[3]) != (_COUNT_U4, _TABLE_S4):
        return []
    (count,) = struct.unpack_from("<I", section, 8)
    if 12 + 8 * count > len(section):
        return []
    rows = struct.iter_unpack("<ii", section[12 : 12 + 8 * count])
    return sorted(address + begin for begin, _ in rows)


@cache
def _library(path: str) -> list[int]:
    try:
        with open(path, "rb") as file:
            elf = Elf(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        header = elf.section(".eh_frame_hdr")
    except (OSError, ValueError):
        return []
    return [] if header is None else starts_in(elf.content(header), int(header["addr"]))


def place(path: str, address: int) -> str:
    """``librte_net_pcap+0x6a10``: library and begin of the function around ``address``."""
    starts = _library(path)
    at = bisect.bisect_right(starts, address) - 1
    name = Path(path).name.split(".so")[0] or path
    return f"{name}+{starts[at]:#x}" if at >= 0 else name
