"""Functions of the packet path as Python sees them, and the names of their caches."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import msgpack
import pytest

from runtime import jit, program
from runtime.intrinsics import load64
from runtime.jit import JIT, c_address, compiled, inlined

compiled_only = pytest.mark.skipif(not JIT, reason="nothing is compiled in plain mode")


@inlined
def twice(a):
    return a * 2


@compiled
def best(a, b):
    return max(twice(a), min(b, 100))


@compiled
def calls_best(a):
    return best(a, load64(a))


def test_functions_call_functions():
    word = ctypes.c_int64(1 << 62)
    at = ctypes.addressof(word)
    assert (best(3, 7), best(3, 700), best(-3, -4)) == (7, 100, -4)
    assert calls_best(at) == 2 * at


FAR = """
import ctypes
from netdev import mbuf
from runtime.intrinsics import copy, load64
from runtime.jit import compiled
reserve = ctypes.CDLL(None).mmap
reserve.restype = ctypes.c_void_p
mbuf.room_of.address
for number in range(60):
    assert reserve(None, ctypes.c_size_t(3 << 30), 0, 0x4022, -1, 0) != ctypes.c_void_p(-1).value
    @compiled
    def chosen(a, b, size):
        if size == 1: return 7
        if size == 2: return 13
        if size == 3: return 99
        if size == 4: return 1 << 40
        if size == 5: return 1234567
        copy(a, b, size)
        return mbuf.room_of(a) if size > 100 else load64(a)
    assert [chosen(0, 0, size) for size in (1, 4, 5)] == [7, 1 << 40, 1234567]
"""


@compiled_only
def test_code_may_be_loaded_anywhere(tmp_path):
    """Its sections may lie more than 32 bits apart in a process that has mapped a lot."""
    (tmp_path / "far.py").write_text(FAR)
    environment = {**os.environ, "PYTHONPATH": str(jit.ROOT)}
    words = [sys.executable, str(tmp_path / "far.py")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_c_calls_them():
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(c_address(best))
    assert call(-9, 50) == 50


@compiled_only
def test_the_number_of_arguments_is_checked():
    for wrong in ((), (1,), (1, 2, 3)):
        with pytest.raises(TypeError, match=r"best.* takes 2 arguments"):
            best(*wrong)


@compiled_only
def test_what_cannot_be_compiled_is_named():
    @compiled
    def asks(a):
        return open(a)

    with pytest.raises(jit.CompileError, match="asks"):
        asks(1)


def test_a_cache_belongs_to_one_source_and_one_compiler(monkeypatch, tmp_path):
    for package in jit.PACKAGES:
        (tmp_path / package).mkdir()
    (tmp_path / "ipvs" / "poll.py").write_text("A = 1\n")
    (tmp_path / "runtime" / "log.py").write_text("A = 1\n")
    monkeypatch.setattr(jit, "ROOT", tmp_path)
    first = jit.source_key()
    (tmp_path / "runtime" / "log.py").write_text("A = 2\n")  # nothing compiled comes from it
    assert jit.source_key() == first
    (tmp_path / "ipvs" / "poll.py").write_text("A = 2\n")
    second = jit.source_key()
    monkeypatch.setattr(jit, "compiler_key", lambda: "another processor")
    assert len({first, second, jit.source_key()}) == 3


def test_old_caches_are_removed(monkeypatch, tmp_path):
    monkeypatch.setenv("DPVS_CACHE_DIR", str(tmp_path))
    for number in range(6):
        folder = tmp_path / f"{number}"
        (folder / "units").mkdir(parents=True)
        (folder / "program").write_text("x")
        os.utime(folder, (1000 + number, 1000 + number))
    jit.prune_cache(keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["4", "5"]


def test_a_cache_is_as_new_as_its_last_use(monkeypatch, tmp_path):
    """The machine code of a daemon stays while others are compiled: a worker may have to start."""
    monkeypatch.setattr(program, "CACHE_DIR", tmp_path)
    monkeypatch.setattr(program, "PROGRAM", tmp_path / "program")
    (tmp_path / "program").write_bytes(msgpack.packb({"symbols": ["f"], "object": b"code"}))
    os.utime(tmp_path, (1000, 1000))
    assert program.stored() == (["f"], b"code")
    assert tmp_path.stat().st_mtime > 1000
    (tmp_path / "program").unlink()
    assert program.stored() == ([], b"")
