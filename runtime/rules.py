"""The rules of the packet path, checked on the source of every compiled function.

A function of the path works on 64-bit integers and typed pointers and calls nothing but other
functions of the path.  ``violations`` proves for one function that it can neither raise, allocate
nor wait: only the statements and expressions listed here occur, each name is known, each attribute
is a field of the structure its pointer really points to, and each callee is of the path itself, a
view, an intrinsic or one of four built-ins.  What numba makes of it is checked on the machine code
by runtime/rules_object.py.
"""

from __future__ import annotations

import ast
import ctypes
import inspect
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from runtime import intrinsics
from runtime.layout import fields_of
from runtime.pointers import View

BUILT_IN = {"min": 2, "max": 2, "abs": 1, "bool": 1}
STATEMENTS = (
    *(ast.Assign, ast.AugAssign, ast.If, ast.While, ast.For, ast.Return, ast.Break),
    *(ast.Continue, ast.Pass, ast.Expr),
)
DIVISIONS = (ast.FloorDiv, ast.Mod)
FORBIDDEN_OPERATORS = (ast.Div, ast.Pow, ast.MatMult)
FORBIDDEN_COMPARISONS = (ast.In, ast.NotIn, ast.Is, ast.IsNot)


@dataclass(frozen=True)
class Kind:
    """What an expression is: an integer, a pointer to ``struct``, or an array field of it."""

    struct: type[ctypes.Structure] | None = None
    array: str | None = None


NUMBER = Kind()


def plain(function: Any) -> Any:
    """The Python function behind a compiled one (or the function itself)."""
    return getattr(function, "py_func", function)


@cache
def _intrinsics() -> frozenset[int]:
    """Identities of the intrinsics: what runtime/intrinsics.py binds by assignment, callable."""
    tree = ast.parse(inspect.getsource(intrinsics))
    names = (
        target.id
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for node in statement.targets
        for target in ast.walk(node)
        if isinstance(target, ast.Name)
    )
    values = (getattr(intrinsics, name) for name in names)
    return frozenset(id(value) for value in values if callable(value))


class _Checker:
    """One walk over one function; ``found`` gathers what breaks the rules."""

    def __init__(self, function: Callable[..., Any], path: frozenset[int]) -> None:
        self.function = plain(function)
        self.path = path
        self.found: list[str] = []
        self.locals: dict[str, Kind] = {}
        lines, self.first = inspect.getsourcelines(self.function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
        self.definition: Any = tree.body[0]

    def fault(self, node: ast.AST, text: str) -> Kind:
        line = self.first + getattr(node, "lineno", 1) - 1
        self.found.append(f"{self.function.__module__}:{line} {self.function.__name__}: {text}")
        return NUMBER

    def check(self) -> list[str]:
        arguments = self.definition.args
        extra = arguments.kwonlyargs or arguments.defaults or arguments.vararg or arguments.kwarg
        if extra or arguments.posonlyargs:
            self.fault(self.definition, "parameters other than plain positional ones")
        self.locals = {argument.arg: NUMBER for argument in arguments.args}
        body = self.definition.body
        if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body = body[1:]  # the docstring
        self.block(body)
        return self.found

    def block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, STATEMENTS):
                getattr(self, f"do_{type(statement).__name__.lower()}")(statement)
            else:
                self.fault(statement, f"statement {type(statement).__name__}")

    def do_pass(self, node: ast.stmt) -> None:
        """Nothing to check."""

    do_break = do_continue = do_pass

    def do_expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Call):
            self.fault(node, f"{type(node.value).__name__} as a statement")
        self.kind(node.value)

    def do_return(self, node: ast.Return) -> None:
        if node.value is not None:
            self.number(node.value)

    def do_if(self, node: ast.If | ast.While) -> None:
        self.number(node.test)
        self.block(node.body)
        self.block(node.orelse)

    do_while = do_if

    def do_for(self, node: ast.For) -> None:
        source = node.iter
        if isinstance(source, ast.Call) and isinstance(source.func, ast.Name):
            if source.func.id == "range" and not source.keywords:
                for argument in source.args:
                    self.number(argument)
                if len(source.args) > 2 and not self.constant(source.args[2]):
                    self.fault(node, "range() with a step other than a non-zero constant")
                self.bind(node.target, NUMBER)
                self.block(node.body)
                self.block(node.orelse)
                return
        self.fault(node, "for over something else than range()")

    def do_assign(self, node: ast.Assign) -> None:
        kind = self.kind(node.value)
        for target in node.targets:
            self.bind(target, kind)

    def do_augassign(self, node: ast.AugAssign) -> None:
        self.operator(node, node.op, node.value)
        self.number(node.value)
        if isinstance(node.target, ast.Name):
            self.name(ast.copy_location(ast.Name(node.target.id, ast.Load()), node))
        self.bind(node.target, NUMBER)

    def bind(self, target: ast.expr, kind: Kind) -> None:
        if isinstance(target, ast.Name):
            if self.locals.setdefault(target.id, kind) != kind:
                self.fault(target, f"{target.id} changes between number and pointer")
        elif isinstance(target, ast.Attribute | ast.Subscript):
            if self.kind(target) != NUMBER or kind != NUMBER:
                self.fault(target, "store of something else than a number")
        else:
            self.fault(target, f"assignment to {type(target).__name__}")

    def number(self, node: ast.expr) -> None:
        if self.kind(node) != NUMBER:
            self.fault(node, "pointer where a number is wanted")

    def kind(self, node: ast.expr) -> Kind:
        method = getattr(self, f"on_{type(node).__name__.lower()}", None)
        if method is None:
            return self.fault(node, f"expression {type(node).__name__}")
        result: Kind = method(node)
        return result

    def on_constant(self, node: ast.Constant) -> Kind:
        if type(node.value) not in (int, bool):
            self.fault(node, f"constant {node.value!r}")
        return NUMBER

    def on_binop(self, node: ast.BinOp) -> Kind:
        self.operator(node, node.op, node.right)
        self.number(node.left)
        self.number(node.right)
        return NUMBER

    def operator(self, node: ast.AST, op: ast.operator, right: ast.expr) -> None:
        if isinstance(op, FORBIDDEN_OPERATORS):
            self.fault(node, f"operator {type(op).__name__}")
        if isinstance(op, DIVISIONS) and not self.constant(right):
            self.fault(node, "division by something else than a non-zero constant")

    def constant(self, node: ast.expr) -> int:
        """Value of a constant (spelt out, a name, or ``A // B`` of two), 0 for anything else."""
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, int) else 0
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
            divisor = self.constant(node.right)
            return self.constant(node.left) // divisor if divisor else 0
        value = self.resolve(node)
        return value if isinstance(value, int) else 0

    def on_unaryop(self, node: ast.UnaryOp) -> Kind:
        self.number(node.operand)
        return NUMBER

    def on_boolop(self, node: ast.BoolOp) -> Kind:
        for value in node.values:
            self.number(value)
        return NUMBER

    def on_compare(self, node: ast.Compare) -> Kind:
        for op in node.ops:
            if isinstance(op, FORBIDDEN_COMPARISONS):
                self.fault(node, f"comparison {type(op).__name__}")
        for value in (node.left, *node.comparators):
            self.number(value)
        return NUMBER

    def on_ifexp(self, node: ast.IfExp) -> Kind:
        for value in (node.test, node.body, node.orelse):
            self.number(value)
        return NUMBER

    def on_name(self, node: ast.Name) -> Kind:
        return self.name(node)

    def name(self, node: ast.Name) -> Kind:
        if node.id in self.locals:
            return self.locals[node.id]
        if type(self.function.__globals__.get(node.id)) not in (int, bool):
            self.fault(node, f"{node.id} is neither bound here nor an integer of the module")
        return NUMBER

    def resolve(self, node: ast.expr) -> Any:
        """Value of a global name or of an attribute of a module; None for anything else."""
        if isinstance(node, ast.Name) and node.id not in self.locals:
            value = self.function.__globals__.get(node.id)
            if value is None and node.id in BUILT_IN:
                return node.id
            return value
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = self.resolve(node.value)
            if isinstance(module, ModuleType):
                return getattr(module, node.attr, None)
        return None

    def on_attribute(self, node: ast.Attribute) -> Kind:
        if type(self.resolve(node)) is int:
            return NUMBER
        if isinstance(self.resolve(node.value), ModuleType):
            return self.fault(node, f"{ast.unparse(node)} is no integer")
        base = self.kind(node.value)
        if base.struct is None:
            return self.fault(node, f"attribute .{node.attr} of a number")
        if node.attr == "ptr":
            return NUMBER
        field = fields_of(base.struct).get(node.attr) if base.array is None else None
        if field is None:
            return self.fault(node, f"{base.struct.__name__} has no field {node.attr}")
        if field.count is not None:
            return Kind(base.struct, node.attr)
        return Kind(field.struct) if field.struct else NUMBER

    def on_subscript(self, node: ast.Subscript) -> Kind:
        base = self.kind(node.value)
        if base.struct is None or base.array is None:
            return self.fault(node, "index of something else than an array field")
        self.number(node.slice)
        return Kind(fields_of(base.struct)[base.array].struct)

    def on_call(self, node: ast.Call) -> Kind:
        if node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
            self.fault(node, "call with keywords or a starred argument")
        for argument in node.args:
            self.number(argument)
        callee, text = self.resolve(node.func), ast.unparse(node.func)
        if isinstance(callee, View):
            return Kind(callee.struct)
        if isinstance(callee, str):
            if len(node.args) != BUILT_IN[callee]:
                self.fault(node, f"{callee}() with {len(node.args)} arguments")
        elif id(plain(callee)) in self.path:
            if plain(callee) is self.function:
                self.fault(node, "recursion")
            if plain(callee).__code__.co_argcount != len(node.args):
                self.fault(node, f"{text}() with {len(node.args)} arguments")
        elif id(callee) not in _intrinsics():
            self.fault(node, f"call of {text}, which is not of the packet path")
        return NUMBER


def violations(function: Callable[..., Any], path: Iterable[Callable[..., Any]]) -> list[str]:
    """What ``function`` does that a function of the packet path may not; empty when all is well.

    ``path`` are the functions it may call (runtime.jit.COMPILED).  Raises OSError when the source
    of the function cannot be read.
    """
    return _Checker(function, frozenset(id(plain(member)) for member in path)).check()
