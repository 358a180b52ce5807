"""Names of compiled functions for Linux perf: ``/tmp/perf-PID.map``.

numba writes none.  But LLVM keeps, for debuggers, a list of the objects it loaded (GDB's "JIT
compilation interface": a variable ``__jit_debug_descriptor`` that starts a linked list of ELF
images with the addresses they were loaded at).  It holds freshly compiled and cached code alike,
with the functions inside each object, and can be read from outside of the process, so a running
worker needs to do nothing.
"""

from __future__ import annotations

import mmap
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runtime.perfmap_elf import Elf
from runtime.perfmap_names import readable

DESCRIPTOR = "__jit_debug_descriptor"
HEAD = struct.Struct("<IIQQ")  # version, action, relevant entry, first entry
ENTRY = struct.Struct("<QQQQ")  # next, previous, address and size of an ELF image
MOST_OBJECTS = 100_000
MAX_IMAGE = 64 << 20


class PerfMapError(Exception):
    """A process whose compiled code cannot be listed; the text is one clear sentence."""


@dataclass(frozen=True)
class Mapping:
    """One line of /proc/PID/maps that belongs to a file."""

    start: int
    end: int
    offset: int
    path: str


@dataclass(frozen=True)
class Function:
    """A compiled function in memory."""

    start: int
    size: int
    symbol: str


def file_mappings(pid: int) -> list[Mapping]:
    """What the process has mapped from files.  Raises PerfMapError."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError as error:
        raise PerfMapError(f"process {pid}: {error.strerror}") from error
    found = []
    for line in lines:
        words = line.split(None, 5)
        if len(words) == 6 and words[5].startswith("/"):
            begin, end = (int(word, 16) for word in words[0].split("-"))
            found.append(Mapping(begin, end, int(words[2], 16), words[5]))
    return found


def _descriptor(pid: int) -> int:
    """Address of LLVM's list in the process.  Raises PerfMapError."""
    seen = set()
    for mapping in file_mappings(pid):
        if "llvm" not in Path(mapping.path).name.lower() or mapping.path in seen:
            continue
        seen.add(mapping.path)
        try:
            with open(f"/proc/{pid}/root{mapping.path}", "rb") as file:
                data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        except OSError as error:
            raise PerfMapError(f"{mapping.path}: {error.strerror}") from error
        elf = Elf(data)
        value = elf.find(DESCRIPTOR)
        if value is not None:
            return elf.bias(mapping.start, mapping.offset) + value
    what = f"{', '.join(seen)} has no symbol {DESCRIPTOR}" if seen else "it has loaded no LLVM"
    raise PerfMapError(f"process {pid}: {what}, so its compiled code cannot be found")


def _read(memory: BinaryIO, address: int, size: int) -> bytes:
    memory.seek(address)
    data = memory.read(size)
    if len(data) != size:
        raise OSError(f"no memory at {address:#x}")
    return data


def images(pid: int) -> Iterator[Elf]:
    """ELF images of all compiled code of a process; section addresses are where it lies.

    Raises PerfMapError, for instance when one may not look into the process.
    """
    first = _descriptor(pid)
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            version, _, _, at = HEAD.unpack(_read(memory, first, HEAD.size))
            if version != 1:
                raise PerfMapError(f"process {pid}: list of compiled code of version {version}")
            for _ in range(MOST_OBJECTS):
                if not at:
                    return
                at, _, address, size = ENTRY.unpack(_read(memory, at, ENTRY.size))
                if size <= MAX_IMAGE:
                    yield Elf(_read(memory, address, size))
    except (OSError, ValueError) as error:
        raise PerfMapError(f"cannot read the memory of process {pid}: {error}") from error


def functions_in(image: Elf) -> list[Function]:
    """Functions of one image."""
    starts = image.sections["addr"]
    return [
        Function(int(starts[symbol.section]) + symbol.value, symbol.size, symbol.name)
        for symbol in image.functions()
        if symbol.section < len(starts)
    ]


def map_path(pid: int) -> Path:
    """Where perf looks for the names of a process."""
    return Path(f"/tmp/perf-{pid}.map")


def write_map(pid: int, path: Path | None = None) -> int:
    """Write the map of a process; number of functions in it.  Raises PerfMapError, OSError."""
    functions = sorted(
        (function for image in images(pid) for function in functions_in(image)),
        key=lambda function: function.start,
    )
    target = path or map_path(pid)
    # perf takes only maps of its own user; a link somebody else left must not be followed.
    target.unlink(missing_ok=True)
    with target.open("x") as file:
        for function in functions:
            file.write(f"{function.start:x} {function.size:x} {readable(function.symbol)}\n")
    return len(functions)


def main() -> int:
    """``python -m runtime.perfmap PID``: write the map of a running process."""
    words = sys.argv[1:]
    if len(words) != 1 or not words[0].isdigit():
        print("usage: python -m runtime.perfmap PID", file=sys.stderr)
        return 2
    pid = int(words[0])
    try:
        count = write_map(pid)
    except (PerfMapError, OSError) as error:
        print(f"perfmap: {error}", file=sys.stderr)
        return 1
    print(f"{map_path(pid)}: {count} functions")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
