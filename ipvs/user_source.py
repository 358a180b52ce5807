"""Checking a user-written scheduler and turning it into a function of the packet path.

The file is plain Python: one function of three parameters (service, servers, packet) that returns
the index of a server, and integer constants.  What numbers, loops and these three objects cannot
express is refused with the line it stands in.  The rest is rewritten: what the function asks about
its objects becomes calls of ipvs/user_call.py with checked indexes, divisions cannot fault, and
every loop round counts, so that no loop is endless.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, NoReturn

from ipvs import user_call
from ipvs.user_call import FAULT, STEPS
from runtime.intrinsics import divide, minus, plus, remainder, times

SERVICE = {
    "address": "service_address", "port": "service_port", "now": "now", "state": "state",
}  # fmt: skip
PACKET = {
    "source": "source", "source_port": "source_port", "destination_port": "destination_port",
    "protocol": "protocol",
}  # fmt: skip
SERVER = ("weight", "usable", "active", "inactive", "connections", "address", "port", "index")
WORDS = ("len", "min", "max", "abs", "hash", "range")
OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr, ast.BitXor,
    ast.LShift, ast.RShift,
)  # fmt: skip
COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
NUMBER, A_SERVER = "a number", "a server"
LARGEST = 64 * 1024  # bytes of source


class SchedulerError(ValueError):
    """What is wrong with a scheduler's file, with the line where it is."""


def _refuse(node: ast.AST, text: str) -> NoReturn:
    raise SchedulerError(f"line {getattr(node, 'lineno', 1)}: {text}")


def _call(name: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _number(value: int) -> ast.expr:
    return ast.Constant(value)


class _Function:
    """One walk over the function: ``expression`` and ``statement`` return what replaces them."""

    def __init__(self, definition: ast.FunctionDef, constants: dict[str, int]) -> None:
        self.constants = constants
        self.kinds: dict[str, str] = {}
        self.loops = 0
        arguments = definition.args
        plain = not (
            arguments.posonlyargs or arguments.kwonlyargs or arguments.vararg or arguments.kwarg
            or arguments.defaults or definition.decorator_list
        )  # fmt: skip
        names = [argument.arg for argument in arguments.args]
        if not plain or len(names) != 3:
            _refuse(
                definition,
                f"{definition.name}() must have the three parameters (service, servers, packet)"
                " and nothing else",
            )
        self.service, self.servers, self.packet = names
        self.reserved = {*names, *WORDS, *constants}
        self.definition = definition

    def rewritten(self) -> ast.FunctionDef:
        """The function as the packet path calls it."""
        body = self.definition.body
        if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body = body[1:]
        done = self.block(body)
        # Every name has a value and a type whatever way a call takes.
        names = [ast.Name(name, ast.Store()) for name in ("_left", *self.kinds)]
        first = [ast.Assign([name], _number(0)) for name in names]
        first[0].value = _number(STEPS)
        return ast.FunctionDef(
            name="scheduler",
            args=ast.arguments(
                posonlyargs=[],
                args=[ast.arg(name) for name in ("_call", "_servers", "_packet")],
                kwonlyargs=[], kw_defaults=[], defaults=[],
            ),
            body=[*first, *done, ast.Return(_number(-1))],
            decorator_list=[],
        )  # fmt: skip

    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [new for statement in body for new in self.statement(statement)] or [ast.Pass()]

    def statement(self, node: ast.stmt) -> list[ast.stmt]:
        match node:
            case ast.Assign(targets=[target], value=value):
                return [self.assign(target, *self.value(value))]
            case ast.AugAssign(target=target, op=op, value=value):
                read = ast.copy_location(ast.parse(ast.unparse(target), mode="eval").body, node)
                whole = ast.copy_location(ast.BinOp(read, op, value), node)
                return [self.assign(target, self.number(whole), NUMBER)]
            case ast.If():
                test, body = self.number(node.test), self.block(node.body)
                return [ast.If(test, body, self.block(node.orelse) if node.orelse else [])]
            case ast.For():
                return self.loop_over(node)
            case ast.While():
                if node.orelse:
                    _refuse(node, "else after a loop is not possible here")
                test = self.number(node.test)
                return [ast.While(test, self.counted(node.body), [])]
            case ast.Return(value=None):
                _refuse(node, "return needs the index of a server, or -1 for none")
            case ast.Return(value=value):
                assert value is not None
                return [ast.Return(self.value(value)[0])]
            case ast.Pass() | ast.Break() | ast.Continue():
                return [node]
        what = type(node).__name__
        _refuse(node, f"{what} is not possible here: numbers, if, for, while and return are")

    def counted(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """The body of a loop; a call that goes round too often ends as a fault."""
        step = ast.AugAssign(ast.Name("_left", ast.Store()), ast.Sub(), _number(1))
        left = ast.Compare(ast.Name("_left", ast.Load()), [ast.Lt()], [_number(0)])
        return [step, ast.If(left, [ast.Return(_number(FAULT))], []), *self.block(body)]

    def loop_over(self, node: ast.For) -> list[ast.stmt]:
        if node.orelse:
            _refuse(node, "else after a loop is not possible here")
        if not isinstance(node.target, ast.Name):
            _refuse(node.target, "a loop has one plain variable")
        kind, source = NUMBER, node.iter
        if isinstance(source, ast.Name) and source.id == self.servers:
            kind = A_SERVER
            turns = _call("range", _call("server_count", ast.Name("_call", ast.Load())))
        elif self.is_call(source, "range"):
            assert isinstance(source, ast.Call)
            if not 1 <= len(source.args) <= 3 or source.keywords:
                _refuse(node, "range() takes one to three numbers")
            if len(source.args) == 3 and not self.constant(source.args[2]):
                _refuse(node, "the step of range() must be a constant other than 0")
            turns = _call("range", *(self.number(argument) for argument in source.args))
        else:
            _refuse(node, f"a loop goes over range() or {self.servers}")
        self.bind(node.target, kind)
        return [ast.For(ast.Name(node.target.id, ast.Store()), turns, self.counted(node.body), [])]

    def assign(self, target: ast.expr, value: ast.expr, kind: str) -> ast.stmt:
        if isinstance(target, ast.Name):
            self.bind(target, kind)
            return ast.Assign([ast.Name(target.id, ast.Store())], value)
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            if (target.value.id, target.attr) == (self.service, "state"):
                if kind != NUMBER:
                    _refuse(target, f"{self.service}.state is a number")
                return ast.Assign([self.field("state", ast.Store())], value)
        _refuse(target, f"only plain names and {self.service}.state can be assigned to")

    def bind(self, target: ast.Name, kind: str) -> None:
        if target.id in self.reserved or target.id.startswith("_"):
            _refuse(target, f"the name {target.id} cannot be assigned to")
        if self.kinds.setdefault(target.id, kind) != kind:
            _refuse(target, f"{target.id} is {self.kinds[target.id]} and becomes {kind}")

    def field(self, name: str, context: ast.expr_context) -> ast.Attribute:
        return ast.Attribute(_call("Call", ast.Name("_call", ast.Load())), name, context)

    def number(self, node: ast.expr) -> ast.expr:
        value, kind = self.value(node)
        if kind != NUMBER:
            _refuse(node, f"{ast.unparse(node)} is {kind} where a number is wanted")
        return value

    def constant(self, node: ast.expr) -> int:
        """Value of a constant expression, 0 for anything else."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self.constant(node.operand)
        if isinstance(node, ast.Name):
            return self.constants.get(node.id, 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        return 0

    @staticmethod
    def is_call(node: ast.expr, name: str) -> bool:
        return (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        )

    def value(self, node: ast.expr) -> tuple[ast.expr, str]:
        """What replaces an expression, and what it is."""
        match node:
            case ast.Constant(value=bool() | int() as value):
                if not -(1 << 63) <= value < 1 << 63:
                    _refuse(node, f"{value} does not fit 64 bits")
                return _number(int(value)), NUMBER
            case ast.Constant(value=value):
                _refuse(node, f"{value!r} is no whole number")
            case ast.Name(id=name):
                return self.name(node, name)
            case ast.BinOp(left=left, op=op, right=right):
                return self.operation(node, op, self.number(left), self.number(right)), NUMBER
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _call("minus", _number(0), self.number(operand)), NUMBER
            case ast.UnaryOp(op=op, operand=operand):
                return ast.UnaryOp(op, self.number(operand)), NUMBER
            case ast.BoolOp(op=op, values=values):
                # As a choice of 0 or 1: the operands stay numbers of one type.
                test = ast.BoolOp(op, [self.number(value) for value in values])
                return ast.IfExp(test, _number(1), _number(0)), NUMBER
            case ast.Compare(left=left, ops=ops, comparators=others):
                if not all(isinstance(op, COMPARISONS) for op in ops):
                    _refuse(node, "numbers are compared with == != < <= > >=")
                values = [self.number(left), *(self.number(other) for other in others)]
                return ast.Compare(values[0], ops, values[1:]), NUMBER
            case ast.IfExp(test=test, body=body, orelse=orelse):
                (yes, kind), (no, other) = self.value(body), self.value(orelse)
                if kind != other:
                    _refuse(node, "both outcomes must be of one kind")
                return ast.IfExp(self.number(test), yes, no), kind
            case ast.Subscript(value=ast.Name(id=name), slice=index) if name == self.servers:
                return self.number(index), A_SERVER
            case ast.Attribute(value=owner, attr=attr):
                return self.attribute(node, owner, attr), NUMBER
            case ast.Call():
                return self.call(node), NUMBER
        _refuse(node, f"{ast.unparse(node)} is not possible here")

    def name(self, node: ast.Name, name: str) -> tuple[ast.expr, str]:
        if name in self.constants:
            return _number(self.constants[name]), NUMBER
        if name in self.kinds:
            return ast.Name(name, ast.Load()), self.kinds[name]
        if name in self.reserved:
            _refuse(node, f"{name} cannot be used by itself")
        _refuse(node, f"{name} has no value yet")

    def operation(
        self, node: ast.expr, op: ast.operator, left: ast.expr, right: ast.expr
    ) -> ast.expr:
        if isinstance(op, ast.Div):
            _refuse(node, "/ makes fractions; // divides whole numbers")
        if not isinstance(op, OPERATORS):
            _refuse(node, f"operator {type(op).__name__} is not possible here")
        if isinstance(op, ast.FloorDiv):
            return _call("divide", left, right)
        if isinstance(op, ast.Mod):
            return _call("remainder", left, right)
        if isinstance(op, ast.LShift | ast.RShift):
            right = ast.BinOp(right, ast.BitAnd(), _number(63))
        if isinstance(op, ast.Add | ast.Sub | ast.Mult):
            name = {ast.Add: "plus", ast.Sub: "minus", ast.Mult: "times"}[type(op)]
            return _call(name, left, right)
        return ast.BinOp(left, op, right)

    def attribute(self, node: ast.Attribute, owner: ast.expr, attr: str) -> ast.expr:
        if isinstance(owner, ast.Name) and owner.id in (self.service, self.packet):
            fields = SERVICE if owner.id == self.service else PACKET
            if attr not in fields:
                _refuse(node, f"{owner.id} has no {attr}; it has {', '.join(fields)}")
            return self.field(fields[attr], ast.Load())
        index, kind = self.value(owner)
        if kind != A_SERVER or attr not in SERVER:
            _refuse(node, f"there is no {ast.unparse(node)}; a server has {', '.join(SERVER)}")
        if attr == "index":
            return index
        return _call(f"server_{attr}", ast.Name("_call", ast.Load()), index)

    def call(self, node: ast.Call) -> ast.expr:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in WORDS or name == "range" or node.keywords:
            _refuse(node, f"{ast.unparse(node)}: only {', '.join(WORDS[:-1])} can be called")
        if name == "len":
            if len(node.args) != 1 or ast.unparse(node.args[0]) != self.servers:
                _refuse(node, f"len() is for {self.servers}")
            return _call("server_count", ast.Name("_call", ast.Load()))
        values = [self.number(argument) for argument in node.args]
        wanted = {"abs": (1,), "hash": (1, 2), "min": (2,), "max": (2,)}[name]
        if len(values) not in wanted:
            _refuse(node, f"{name}() takes {' or '.join(map(str, wanted))} numbers")
        if name == "hash":
            return _call("hashed", values[0], values[1] if len(values) == 2 else _number(0))
        return _call(name, *values)


def _constants(tree: ast.Module) -> tuple[dict[str, int], list[ast.FunctionDef]]:
    found: dict[str, int] = {}
    functions = []
    for node in tree.body:
        match node:
            case ast.FunctionDef():
                functions.append(node)
            case ast.Expr(value=ast.Constant(value=str())):
                pass
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=int() as value)):
                if name in WORDS or name.startswith("_") or not -(1 << 63) <= value < 1 << 63:
                    _refuse(node, f"{name} cannot be a constant's name, or {value} is too large")
                found[name] = value
            case _:
                _refuse(node, "besides the function there can be constants (NAME = number) only")
    return found, functions


def check_source(source: str) -> str:
    """The scheduler in ``source`` as the text of a packet-path function called ``scheduler``.

    Raises SchedulerError with the first thing that is wrong.
    """
    if len(source) > LARGEST:
        raise SchedulerError(f"the file is larger than {LARGEST} bytes")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise SchedulerError(f"line {line}: {getattr(error, 'msg', error)}") from error
    constants, functions = _constants(tree)
    if len(functions) != 1:
        raise SchedulerError(f"line 1: there must be one function, but there are {len(functions)}")
    try:
        function = _Function(functions[0], constants).rewritten()
        return ast.unparse(ast.fix_missing_locations(ast.Module([function], [])))
    except RecursionError as error:
        raise SchedulerError("line 1: nested too deeply") from error


NAMES = {
    name: getattr(user_call, name)
    for name in (
        "Call", "server_count", "server_weight", "server_usable", "server_address", "server_port",
        "server_active", "server_inactive", "server_connections", "hashed",
    )
}  # fmt: skip
NAMES |= {
    "plus": plus, "minus": minus, "times": times, "divide": divide, "remainder": remainder,
}  # fmt: skip


def function_of(source: str) -> Callable[..., int]:
    """The rewritten scheduler as a Python function, for compilation or a trial in plain Python."""
    names: dict[str, Any] = {"__name__": "scheduler", **NAMES}
    exec(compile(check_source(source), "<scheduler>", "exec"), names)
    function: Callable[..., int] = names["scheduler"]
    return function
