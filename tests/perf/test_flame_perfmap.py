"""The map of compiled functions that Linux perf reads."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import jit, perfmap, perfmap_names
from runtime.perfmap_elf import Elf

ROOT = Path(__file__).resolve().parents[2]
compiled_only = pytest.mark.skipif(not jit.JIT, reason="nothing is compiled in plain mode")

# Prints: compiled here or loaded from the cache, size, hash of the machine code, name.
PROBE = """
import hashlib, os, sys
from runtime import perfmap
from netdev import mbuf
at = mbuf.room_of.address
path = perfmap.Path(sys.argv[1])
count = perfmap.write_map(os.getpid(), path)
lines = [line.split(" ", 2) for line in path.read_text().splitlines()]
assert count == len(lines) > 0
(mine,) = [line for line in lines if int(line[0], 16) == at]
(code,) = [
    hashlib.sha256(image.content(section)).hexdigest()
    for image in perfmap.images(os.getpid()) for section in image.sections
    if section["addr"] == at
]
print("numba" in sys.modules, int(mine[1], 16), code, mine[2])
"""


def probe(folder: Path, **more: str) -> list[str]:
    """Run PROBE; what it prints."""
    environment = {**os.environ, "DPVS_CACHE_DIR": str(folder / "cache"), **more}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(folder / "map")],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split(" ", 3)


@compiled_only
def test_fresh_and_cached_code_are_both_mapped(tmp_path: Path) -> None:
    line = (ROOT / "netdev" / "mbuf.py").read_text().split("def room_of")[0].count("\n") + 1
    fresh, cached = probe(tmp_path), probe(tmp_path)
    assert (fresh[0], cached[0]) == ("True", "False")
    assert fresh[1:] == cached[1:]
    assert int(fresh[1]) > 0
    assert fresh[3] == f"netdev.mbuf.room_of [netdev/mbuf.py:{line}]"


@compiled_only
def test_line_tables_leave_the_machine_code_as_it_is(tmp_path: Path) -> None:
    plain, lines = (probe(tmp_path, DPVS_PERF_LINES=on) for on in ("0", "1"))
    assert plain[1:] == lines[1:]
    folders = [path.name for path in (tmp_path / "cache").iterdir()]
    assert sorted(name.endswith("-lines") for name in folders) == [False, True]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runtime.perfmap", *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("words", [(), ("x",), ("1", "2"), ("-1",)])
def test_usage(words: tuple[str, ...]) -> None:
    done = command(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: python -m runtime.perfmap PID\n"


def test_process_that_is_not_there() -> None:
    done = command("4194999")
    assert done.returncode == 1
    assert done.stderr == "perfmap: process 4194999: No such file or directory\n"


def test_process_without_llvm() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            with pytest.raises(perfmap.PerfMapError, match="it has loaded no LLVM"):
                list(perfmap.images(other.pid))
        finally:
            other.kill()


@given(st.text(alphabet="ipvs.lo/run0\0é", max_size=30))
def test_any_symbol_has_a_readable_form(symbol: str) -> None:
    assert perfmap_names.readable(symbol) == symbol


def test_readable_names() -> None:
    here = perfmap_names.functions_of(ROOT / "ipvs" / "loop.py")
    line = next(place.line for place in here if place.name == "run")
    name = f"ipvs.loop.run [ipvs/loop.py:{line}]"
    assert perfmap_names.readable("ipvs.loop.run") == name
    assert perfmap_names.readable("ipvs.loop.gone") == "ipvs.loop.gone"
    assert perfmap_names.readable("other.thing.run") == "other.thing.run"
    assert perfmap_names.at_line(ROOT / "ipvs" / "loop.py", line + 1) == name
    assert perfmap_names.at_line(ROOT / "ipvs" / "loop.py", 1) is None
    assert perfmap_names.at_line(ROOT / "no" / "such.py", 1) is None


@given(st.binary(max_size=200), st.integers(0, 63))
def test_elf_refuses_what_is_none(tail: bytes, cut: int) -> None:
    with pytest.raises(ValueError, match=r"not a 64-bit|cut short"):
        Elf(b"\x7fELF\x02\x01" + tail[:50])
    head = struct.pack("<6s34xQ12xHHH", b"\x7fELF\x02\x01", 1 << 40, 64, 4, 3)
    with pytest.raises(ValueError, match=r"not a 64-bit|cut short"):
        Elf(head[:cut])
    with pytest.raises(ValueError, match="cut short"):
        Elf(head + tail)


def test_symbols_of_a_program() -> None:
    elf = Elf(Path(sys.executable).resolve().read_bytes())
    assert elf.names[0] == "" and ".text" in elf.names
    assert elf.find("no such symbol") is None
    assert elf.bias(0x1000, 0) == 0x1000 - int(elf.segments[elf.segments["type"] == 1][0]["vaddr"])
