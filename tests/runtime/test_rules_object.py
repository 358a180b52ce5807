"""The machine code of the packet path needs nothing from outside; what would is found."""

from __future__ import annotations

import llvmlite.binding as llvm
import msgpack
import numba
import pytest
from whole_path import PATH

import ipvs.loop
from runtime import program
from runtime.jit import JIT, PROGRAM, CompileError, Function
from runtime.rules_object import ObjectError, forbidden, outside, uses

compiled_only = pytest.mark.skipif(not JIT, reason="there is no machine code in plain mode")


@pytest.fixture(scope="module")
def code() -> bytes:
    """The object of the whole program, or of the outermost function where there is none yet."""
    if PROGRAM.exists():
        content = msgpack.unpackb(PROGRAM.read_bytes())
        assert {function.symbol for function in PATH} >= set(content["symbols"])
        return bytes(content["object"])
    return program.object_of(ipvs.loop.run)


@compiled_only
def test_machine_code_cannot_allocate_raise_or_call_python(code):
    assert forbidden(code) == []


@compiled_only
def test_the_object_holds_the_whole_way_of_a_packet(code):
    names = {function for function, _ in uses(code)}
    for module in ("poll", "miss", "create", "expire", "loop"):
        assert any(name.startswith(f"ipvs.{module}.") for name in names), module
    assert "memmove" in outside(code)


@compiled_only
def test_code_that_raises_or_allocates_does_not_become_machine_code():

    def raising(a):
        if a > 3:
            raise ValueError("too big")
        return a

    def allocating(a):
        values = [a, a + 1]
        values.append(a)
        return values[a]

    def asking(a):
        with numba.objmode(b="int64"):
            b = len(str(a))
        return b

    for function in (raising, allocating, asking):
        with pytest.raises(CompileError):
            program.object_of(Function(function, inline=False))


@compiled_only
def test_what_an_object_needs_from_outside_is_found():
    text = """
    declare i8* @malloc(i64)
    define i64 @f(i64 %a) {
      %p = call i8* @malloc(i64 %a)
      %r = ptrtoint i8* %p to i64
      ret i64 %r
    }"""
    unit = llvm.parse_assembly(text).as_bitcode()
    assert forbidden(program.link([unit], ["malloc"])) == ["malloc used by f"]
    with pytest.raises(CompileError, match="f: needs malloc"):
        program.link([unit])


def test_what_is_no_object():
    for content in (b"", b"garbage", b"\x7fELG" + bytes(100)):
        with pytest.raises(ObjectError):
            outside(content)
