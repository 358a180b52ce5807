"""The rules of the packet path: what is proven of the real one, and that each rule catches."""

from __future__ import annotations

import ctypes

import numba
import pytest

import ipvs.apply
import ipvs.loop
import ipvs.rebuild
import runtime.pointer_ring
import runtime.ring_core
from ipvs.context import Ipvs
from runtime import wheel
from runtime.intrinsics import load64, store64
from runtime.jit import CACHE_DIR, COMPILED, JIT
from runtime.rules import violations
from runtime.rules_object import ObjectError, compiled_files, forbidden, object_of, outside, uses
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


def _objects(function):
    """Objects of a compiled function from the cache; it is loaded or compiled first."""
    if not function.signatures:
        function.compile((numba.int64,) * function.py_func.__code__.co_argcount)
    module = function.__module__.rpartition(".")[2]
    files = compiled_files(CACHE_DIR, module, function.__name__)
    assert files
    return [object_of(path) for path in files]


@compiled_only
@pytest.mark.parametrize(
    "function", [ipvs.loop.run, ipvs.rebuild.reinsert, ipvs.rebuild.mark_ports]
)
def test_machine_code_cannot_allocate_raise_or_call_python(function):
    for code in _objects(function):
        assert forbidden(code) == []


@compiled_only
def test_the_outermost_object_holds_the_whole_way_of_a_packet():
    (code,) = _objects(ipvs.loop.run)
    names = " ".join({name for use in uses(code) for name in use})
    for part in ("4poll", "4miss", "6create", "3arp", "4icmp", "6expire", "5table", "5index"):
        assert part in names, part
    assert "memmove" in outside(code)
    # The wrapper for the interpreter is in the object too, and is what the check leaves out.
    assert {s for f, s in uses(code) if f.startswith("_ZN7cpython")} >= {"PyEval_SaveThread"}


@compiled_only
def test_machine_code_that_raises_or_allocates_is_caught():

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

    for function, told in ((raising, "picklebuf"), (allocating, "NRT_"), (asking, "Py")):
        library = numba.njit(numba.int64(numba.int64))(function)
        (made,) = library.overloads.values()
        found = forbidden(made.library._get_compiled_object())
        assert any(told in line for line in found), (told, found)


def test_what_is_no_object(tmp_path):
    path = tmp_path / "x.nbc"
    for content in (b"", b"garbage", b"\x80\x04N.", b"\x80\x04]."):
        path.write_bytes(content)
        with pytest.raises(ObjectError):
            object_of(path)
