"""The rules of the packet path: what is proven of the real one, and that each rule catches."""

from __future__ import annotations

import ctypes

import llvmlite.binding as llvm
import msgpack
import numba
import pytest

import ipvs.apply
import ipvs.loop
import ipvs.rebuild
import runtime.pointer_ring
import runtime.ring_core
from ipvs.context import Ipvs
from runtime import program, wheel
from runtime.intrinsics import load64, store64
from runtime.jit import COMPILED, JIT, PROGRAM, CompileError, Function
from runtime.rules import violations
from runtime.rules_object import ObjectError, forbidden, outside, uses
from stack.context import Stack

PATH = list(COMPILED)  # before the examples of this file
LIMIT = 7
FRACTION = 0.5
TABLE = [1, 2]


def helper(a):
    return a


def test_the_whole_path_is_known():
    modules = {function.__module__ for function in PATH}
    assert {
        *("ipvs.loop", "ipvs.known", "ipvs.rebuild", "stack.arp", "stack.icmp", "netdev.port"),
        *("runtime.wheel", "runtime.ring_core", "runtime.pointer_ring", "ipvs.laddr"),
    } <= modules
    assert ipvs.apply and runtime.ring_core and runtime.pointer_ring


@pytest.mark.parametrize("function", PATH, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_path_follows_the_rules(function):
    assert violations(function, PATH) == []


# Each example below breaks one rule; the text is part of what must be said about it.


def tries(a):
    try:
        return a
    finally:
        a = 0


def raises(a):
    raise ValueError


def enters(a):
    with a:
        return 0


def asserts(a):
    assert a


def makes_lambda(a):
    return (lambda: a)()


def yields(a):
    yield a


def imports(a):
    import os  # noqa: F401


def text(a):
    return "text"


def formatted(a):
    return f"{a}"


def makes_list(a):
    return [a]


def makes_dict(a):
    return {a: 1}


def makes_set(a):
    return {a}


def makes_tuple(a):
    return (a, a)


def unpacks(a):
    b, c = a, a
    return b + c


def comprehends(a):
    return [x for x in range(a)]


def float_constant(a):
    return a + 1.5


def float_global(a):
    return a + FRACTION


def true_division(a):
    return a / 2


def divides(a, b):
    return a // b


def remainder(a, b):
    a %= b
    return a


def divides_by_zero(a):
    return a % 0


def power(a):
    return a**2


def unknown_name(a):
    return a + missing  # noqa: F821


def list_global(a):
    return TABLE[a]


def attribute_of_number(a):
    return a.real


def unknown_field(a):
    return Ipvs(a).no_such_field


def stores_unknown_field(a):
    Ipvs(a).no_such_field = 1


def pointer_as_number(a):
    return Ipvs(a)


def pointer_arithmetic(a):
    return Ipvs(a) + 1


def pointer_changes(a):
    p = Ipvs(a)
    p = Stack(a)
    return p.now


def stores_pointer(a):
    Ipvs(a).stack = Stack(a)


def index_of_number(a):
    return a[0]


def array_as_number(a):
    return Ipvs(a).mbufs


def calls_outside(a):
    return helper(a)


def calls_module(a):
    return ctypes.sizeof(a)


def calls_built_in(a):
    return sum(a)


def prints(a):
    print(a)


def calls_method(a):
    return a.bit_length()


def keywords(a):
    return load64(address=a)


def starred(a):
    return load64(*a)


def too_many(a):
    return wheel.due(a)


def recursive(a):
    return recursive(a - 1)


def loops_over(a):
    for x in a:
        a = x
    return a


def zero_step(a):
    for x in range(0, 10, a):
        a = x
    return a


def contains(a):
    return a in TABLE


def is_none(a):
    return a is None


def deletes(a):
    del a


def global_statement(a):
    global LIMIT
    LIMIT = a


def nested(a):
    def inner():
        return a

    return inner()


def walrus(a):
    return (b := a) + b


def slices(a):
    return Ipvs(a).mbufs[0:2]


def defaults(a=1):
    return a


def expression_statement(a):
    a + 1


BAD = {
    tries: "statement Try",
    raises: "statement Raise",
    enters: "statement With",
    asserts: "statement Assert",
    makes_lambda: "which is not of the packet path",
    yields: "Yield",
    imports: "statement Import",
    text: "constant 'text'",
    formatted: "expression JoinedStr",
    makes_list: "expression List",
    makes_dict: "expression Dict",
    makes_set: "expression Set",
    makes_tuple: "expression Tuple",
    unpacks: "Tuple",
    comprehends: "expression ListComp",
    float_constant: "constant 1.5",
    float_global: "FRACTION is neither",
    true_division: "operator Div",
    divides: "division by something",
    remainder: "division by something",
    divides_by_zero: "division by something",
    power: "operator Pow",
    unknown_name: "missing is neither",
    list_global: "TABLE is neither",
    attribute_of_number: "attribute .real of a number",
    unknown_field: "no field no_such_field",
    stores_unknown_field: "no field no_such_field",
    pointer_as_number: "pointer where a number",
    pointer_arithmetic: "pointer where a number",
    pointer_changes: "p changes",
    stores_pointer: "store of something else",
    index_of_number: "index of something else",
    array_as_number: "pointer where a number",
    calls_outside: "call of helper",
    calls_module: "call of ctypes.sizeof",
    calls_built_in: "call of sum",
    prints: "call of print",
    calls_method: "call of a.bit_length",
    keywords: "keywords",
    starred: "starred",
    too_many: "wheel.due() with 1 arguments",
    recursive: "recursion",
    loops_over: "for over something else",
    zero_step: "step other than",
    contains: "comparison In",
    is_none: "comparison Is",
    deletes: "statement Delete",
    global_statement: "statement Global",
    nested: "statement FunctionDef",
    walrus: "expression NamedExpr",
    slices: "expression Slice",
    defaults: "parameters other than",
    expression_statement: "BinOp as a statement",
}


@pytest.mark.parametrize(
    ("function", "told"), BAD.items(), ids=lambda x: getattr(x, "__name__", "")
)
def test_each_rule_catches(function, told):
    found = violations(function, [*PATH, recursive])
    assert any(told in line for line in found), found
    assert all(line.startswith(f"{__name__}:") for line in found)


def fine(a, b):
    """A docstring is no expression of the path."""
    p = Ipvs(a)
    total = 0
    for i in range(0, 8, 2):
        q = p.packet[i]
        q.kind = load64(q.ptr) % LIMIT
        p.mbufs[i] = max(b, -1) if q.kind else ~b
        total += q.kind // 3
    while total > wheel.HORIZON and not b < 0:
        total -= abs(b)
        if total == 5:
            continue
        break
    store64(a, wheel.due(a, total))
    return total


def test_what_is_allowed():
    assert violations(fine, PATH) == []


# Machine code.

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
