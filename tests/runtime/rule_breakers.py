"""Functions that no packet path may hold: each breaks one of its rules."""

from __future__ import annotations

import ctypes

from ipvs.context import Ipvs
from runtime import wheel
from runtime.intrinsics import load64
from stack.context import Stack

LIMIT = 7
FRACTION = 0.5
TABLE = [1, 2]
BAD = {}  # every example, and what must be said about it


def helper(a):
    return a


def breaks(told):
    """Mark an example; ``told`` is part of what must be said about it."""

    def enter(function):
        BAD[function] = told
        return function

    return enter


@breaks("statement Try")
def tries(a):
    try:
        return a
    finally:
        a = 0


@breaks("statement Raise")
def raises(a):
    raise ValueError


@breaks("statement With")
def enters(a):
    with a:
        return 0


@breaks("statement Assert")
def asserts(a):
    assert a


@breaks("which is not of the packet path")
def makes_lambda(a):
    return (lambda: a)()


@breaks("Yield")
def yields(a):
    yield a


@breaks("statement Import")
def imports(a):
    import os  # noqa: F401


@breaks("constant 'text'")
def text(a):
    return "text"


@breaks("expression JoinedStr")
def formatted(a):
    return f"{a}"


@breaks("expression List")
def makes_list(a):
    return [a]


@breaks("expression Dict")
def makes_dict(a):
    return {a: 1}


@breaks("expression Set")
def makes_set(a):
    return {a}


@breaks("expression Tuple")
def makes_tuple(a):
    return (a, a)


@breaks("Tuple")
def unpacks(a):
    b, c = a, a
    return b + c


@breaks("expression ListComp")
def comprehends(a):
    return [x for x in range(a)]


@breaks("constant 1.5")
def float_constant(a):
    return a + 1.5


@breaks("FRACTION is neither")
def float_global(a):
    return a + FRACTION


@breaks("operator Div")
def true_division(a):
    return a / 2


@breaks("division by something")
def divides(a, b):
    return a // b


@breaks("division by something")
def remainder(a, b):
    a %= b
    return a


@breaks("division by something")
def divides_by_zero(a):
    return a % 0


@breaks("operator Pow")
def power(a):
    return a**2


@breaks("missing is neither")
def unknown_name(a):
    return a + missing  # noqa: F821


@breaks("TABLE is neither")
def list_global(a):
    return TABLE[a]


@breaks("attribute .real of a number")
def attribute_of_number(a):
    return a.real


@breaks("no field no_such_field")
def unknown_field(a):
    return Ipvs(a).no_such_field


@breaks("no field no_such_field")
def stores_unknown_field(a):
    Ipvs(a).no_such_field = 1


@breaks("pointer where a number")
def pointer_as_number(a):
    return Ipvs(a)


@breaks("pointer where a number")
def pointer_arithmetic(a):
    return Ipvs(a) + 1


@breaks("p changes")
def pointer_changes(a):
    p = Ipvs(a)
    p = Stack(a)
    return p.now


@breaks("store of something else")
def stores_pointer(a):
    Ipvs(a).stack = Stack(a)


@breaks("index of something else")
def index_of_number(a):
    return a[0]


@breaks("pointer where a number")
def array_as_number(a):
    return Ipvs(a).mbufs


@breaks("call of helper")
def calls_outside(a):
    return helper(a)


@breaks("call of ctypes.sizeof")
def calls_module(a):
    return ctypes.sizeof(a)


@breaks("call of sum")
def calls_built_in(a):
    return sum(a)


@breaks("call of print")
def prints(a):
    print(a)


@breaks("call of a.bit_length")
def calls_method(a):
    return a.bit_length()


@breaks("keywords")
def keywords(a):
    return load64(address=a)


@breaks("starred")
def starred(a):
    return load64(*a)


@breaks("wheel.due() with 1 arguments")
def too_many(a):
    return wheel.due(a)


@breaks("recursion")
def recursive(a):
    return recursive(a - 1)


@breaks("for over something else")
def loops_over(a):
    for x in a:
        a = x
    return a


@breaks("step other than")
def zero_step(a):
    for x in range(0, 10, a):
        a = x
    return a


@breaks("comparison In")
def contains(a):
    return a in TABLE


@breaks("comparison Is")
def is_none(a):
    return a is None


@breaks("statement Delete")
def deletes(a):
    del a


@breaks("statement Global")
def global_statement(a):
    global LIMIT
    LIMIT = a


@breaks("statement FunctionDef")
def nested(a):
    def inner():
        return a

    return inner()


@breaks("expression NamedExpr")
def walrus(a):
    return (b := a) + b


@breaks("expression Slice")
def slices(a):
    return Ipvs(a).mbufs[0:2]


@breaks("parameters other than")
def defaults(a=1):
    return a


@breaks("BinOp as a statement")
def expression_statement(a):
    a + 1
