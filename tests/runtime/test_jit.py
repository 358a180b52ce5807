"""Functions of the packet path as Python sees them, and the names of their caches."""

from __future__ import annotations

import ctypes
import os

import pytest

from runtime import jit
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
