"""The few machine operations Python has no word for, in both modes (compiled and plain).

Every operand and result is an int64; addresses are int64 too (user space ends below 2**47).
"""

from __future__ import annotations

import ctypes
import time
from typing import Any

from llvmlite import ir

from runtime.lowering import I8P, I64, define, pointer_of

_WIDTHS = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_int64}
MASK64 = (1 << 64) - 1


def signed(value: int) -> int:
    """``value`` modulo 2**64 as a signed number: what a 64-bit register holds."""
    value &= MASK64
    return value - (1 << 64) if value >> 63 else value


def _load(width: int) -> Any:
    kind = _WIDTHS[width]

    def python(address: int) -> int:
        return int(kind.from_address(address).value)

    def lower(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
        value = builder.load(pointer_of(builder, address, width), align=1)
        return value if width == 8 else builder.zext(value, I64)

    return define(f"load{width * 8}", 1, python, lower)


def _store(width: int) -> Any:
    kind = _WIDTHS[width]

    def python(address: int, value: int) -> int:
        kind.from_address(address).value = value if width < 8 else signed(value)
        return 0

    def lower(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> ir.Value:
        narrow = value if width == 8 else builder.trunc(value, ir.IntType(width * 8))
        builder.store(narrow, pointer_of(builder, address, width), align=1)
        return ir.Constant(I64, 0)

    return define(f"store{width * 8}", 2, python, lower)


load8, load16, load32, load64 = (_load(w) for w in (1, 2, 4, 8))
store8, store16, store32, store64 = (_store(w) for w in (1, 2, 4, 8))


def _lower_acquire(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return builder.load_atomic(pointer_of(builder, address, 8), "acquire", 8)


def _lower_release(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> ir.Value:
    builder.store_atomic(value, pointer_of(builder, address, 8), "release", 8)
    return ir.Constant(I64, 0)


load_acquire = define(
    "load_acquire", 1, lambda a: int(ctypes.c_int64.from_address(a).value), _lower_acquire
)


def _python_release(address: int, value: int) -> int:
    ctypes.c_int64.from_address(address).value = signed(value)
    return 0


store_release = define("store_release", 2, _python_release, _lower_release)


def _lower_store32_release(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> ir.Value:
    narrow = builder.trunc(value, ir.IntType(32))
    builder.store_atomic(narrow, pointer_of(builder, address, 4), "release", 4)
    return ir.Constant(I64, 0)


def _python_store32(address: int, value: int) -> int:
    ctypes.c_uint32.from_address(address).value = value
    return 0


store32_release = define("store32_release", 2, _python_store32, _lower_store32_release)


def _python_claim(address: int, value: int) -> int:
    word = ctypes.c_int64.from_address(address)
    if word.value != 0:
        return 0
    word.value = signed(value)
    return 1


def _lower_claim(builder: ir.IRBuilder, address: ir.Value, value: ir.Value) -> ir.Value:
    free = ir.Constant(I64, 0)
    pointer = pointer_of(builder, address, 8)
    pair = builder.cmpxchg(pointer, free, value, "acquire", "monotonic")
    return builder.zext(builder.extract_value(pair, 1), I64)


claim = define("claim", 2, _python_claim, _lower_claim)
"""Write ``value`` to an aligned word that is 0, atomically; 0 when it is not."""


def _lower_prefetch(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    i32 = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [I8P, i32, i32, i32])
    function = builder.module.declare_intrinsic("llvm.prefetch", [I8P], kind)
    pointer = builder.inttoptr(address, I8P)
    builder.call(function, [pointer, ir.Constant(i32, 0), ir.Constant(i32, 3), ir.Constant(i32, 1)])
    return ir.Constant(I64, 0)


prefetch = define("prefetch", 1, lambda a: 0, _lower_prefetch)


def _lower_prefetch_write(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    i32 = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [I8P, i32, i32, i32])
    function = builder.module.declare_intrinsic("llvm.prefetch", [I8P], kind)
    pointer = builder.inttoptr(address, I8P)
    builder.call(function, [pointer, ir.Constant(i32, 1), ir.Constant(i32, 3), ir.Constant(i32, 1)])
    return ir.Constant(I64, 0)


prefetch_write = define("prefetch_write", 1, lambda a: 0, _lower_prefetch_write)


def _lower_rdtsc(builder: ir.IRBuilder) -> ir.Value:
    kind = ir.FunctionType(I64, [])
    return builder.call(builder.module.declare_intrinsic("llvm.readcyclecounter", [], kind), [])


rdtsc = define("rdtsc", 0, lambda: time.monotonic_ns(), _lower_rdtsc)


def _lower_mum(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    i128 = ir.IntType(128)
    product = builder.mul(builder.zext(a, i128), builder.zext(b, i128))
    high = builder.trunc(builder.lshr(product, ir.Constant(i128, 64)), I64)
    return builder.xor(high, builder.trunc(product, I64))


def _python_mum(a: int, b: int) -> int:
    product = (a & MASK64) * (b & MASK64)
    return signed((product >> 64) ^ product)


# 64 x 64 -> 128 bit product folded by xor: a keyed mixer that, unlike a CRC, is not linear.
mum = define("mum", 2, _python_mum, _lower_mum)

shr = define("shr", 2, lambda a, n: signed((a & MASK64) >> n), lambda b, a, n: b.lshr(a, n))
"""Logical (unsigned) shift right of a 64-bit value."""

least = define(
    "least", 2, min, lambda builder, a, b: builder.select(builder.icmp_signed("<", a, b), a, b)
)
greatest = define(
    "greatest", 2, max, lambda builder, a, b: builder.select(builder.icmp_signed(">", a, b), a, b)
)
"""``min(a, b)`` and ``max(a, b)``."""

mulhi = define(
    "mulhi",
    2,
    lambda a, b: signed(((a & MASK64) * (b & MASK64)) >> 64),
    lambda bd, a, b: bd.trunc(
        bd.lshr(
            bd.mul(bd.zext(a, ir.IntType(128)), bd.zext(b, ir.IntType(128))),
            ir.Constant(ir.IntType(128), 64),
        ),
        I64,
    ),
)
"""High 64 bits of the unsigned product: scales a 64-bit hash or TSC by a 0.64 fixed-point ratio."""

wrap = define("wrap", 1, signed, lambda builder, a: a)
"""``a`` modulo 2**64: a no-op in machine code, needed in plain Python after + - * of hashes."""


plus = define("plus", 2, lambda a, b: signed(a + b), lambda builder, a, b: builder.add(a, b))
minus = define("minus", 2, lambda a, b: signed(a - b), lambda builder, a, b: builder.sub(a, b))
times = define("times", 2, lambda a, b: signed(a * b), lambda builder, a, b: builder.mul(a, b))
"""+ - * modulo 2**64.  The operators themselves promise LLVM that nothing overflows ("nsw"), and
it draws conclusions: where numbers do wrap around, ``wrap`` behind the operator comes too late."""


def _lower_divisor(b: ir.IRBuilder, value: ir.Value) -> tuple[ir.Value, ir.Value]:
    """A divisor the processor takes whatever the dividend is, and whether it is the one given."""
    zero = b.icmp_signed("==", value, ir.Constant(I64, 0))
    minus = b.icmp_signed("==", value, ir.Constant(I64, -1))
    special = b.or_(zero, minus)
    return b.select(special, ir.Constant(I64, 1), value), b.not_(special)


def _lower_floor(b: ir.IRBuilder, left: ir.Value, right: ir.Value) -> tuple[ir.Value, ...]:
    """Quotient and remainder rounded down, and whether ``right`` was an ordinary divisor."""
    divisor, ordinary = _lower_divisor(b, right)
    quotient, rest = b.sdiv(left, divisor), b.srem(left, divisor)
    odd = b.icmp_signed("!=", rest, ir.Constant(I64, 0))
    apart = b.icmp_signed("<", b.xor(rest, divisor), ir.Constant(I64, 0))
    down = b.and_(odd, apart)
    quotient = b.select(down, b.sub(quotient, ir.Constant(I64, 1)), quotient)
    return quotient, b.select(down, b.add(rest, divisor), rest), ordinary


def _lower_divide(b: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    quotient, _, ordinary = _lower_floor(b, left, right)
    return b.select(ordinary, quotient, b.mul(left, right))  # times 0 or -1


def _lower_remainder(b: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    _, rest, ordinary = _lower_floor(b, left, right)
    return b.select(ordinary, rest, ir.Constant(I64, 0))


divide = define("divide", 2, lambda a, b: signed(a // b) if b else 0, _lower_divide)
"""``a // b`` as Python rounds it, for divisors nobody has checked: 0 when ``b`` is 0."""

remainder = define("remainder", 2, lambda a, b: a % b if b else 0, _lower_remainder)
"""``a % b`` likewise."""


def _lower_cttz(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    return builder.cttz(value, ir.Constant(ir.IntType(1), 0))


cttz = define("cttz", 1, lambda v: 64 if v == 0 else ((v & -v).bit_length() - 1), _lower_cttz)
"""Number of trailing zero bits (64 for zero)."""


def _lower_crc(width: int) -> Any:
    def lower(builder: ir.IRBuilder, crc: ir.Value, value: ir.Value) -> ir.Value:
        state, data = ir.IntType(64 if width == 64 else 32), ir.IntType(width)
        name = f"llvm.x86.sse42.crc32.{64 if width == 64 else 32}.{width}"
        kind = ir.FunctionType(state, [state, data])
        module = builder.module
        # Its name has no form that declare_intrinsic knows.
        function = module.globals.get(name) or ir.Function(module, kind, name)
        first = crc if width == 64 else builder.trunc(crc, state)
        second = value if width == 64 else builder.trunc(value, data)
        result = builder.call(function, [first, second])
        return result if width == 64 else builder.zext(result, I64)

    return lower


def _python_crc(width: int) -> Any:
    def step(crc: int, value: int) -> int:
        crc = (crc & 0xFFFFFFFF) ^ (value & ((1 << width) - 1))
        for _ in range(width):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        return crc

    return step


crc32c_byte = define("crc32c_byte", 2, _python_crc(8), _lower_crc(8))
crc32c_word = define("crc32c_word", 2, _python_crc(64), _lower_crc(64))
"""One step of CRC32c (reflected, no inversions) with a byte or 8 bytes in memory order."""


def _lower_pause(builder: ir.IRBuilder) -> ir.Value:
    kind = ir.FunctionType(ir.VoidType(), [])
    builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", [], kind), [])
    return ir.Constant(I64, 0)


cpu_pause = define("cpu_pause", 0, lambda: 0, _lower_pause)


def _lower_match16(builder: ir.IRBuilder, address: ir.Value, tag: ir.Value) -> ir.Value:
    vector = ir.VectorType(ir.IntType(16), 16)
    tags = builder.load(builder.inttoptr(address, vector.as_pointer()), align=1)
    lane = builder.trunc(tag, ir.IntType(16))
    i32 = ir.IntType(32)
    seed = builder.insert_element(ir.Constant(vector, ir.Undefined), lane, ir.Constant(i32, 0))
    zeros = ir.Constant(ir.VectorType(i32, 16), [0] * 16)
    wanted = builder.shuffle_vector(seed, ir.Constant(vector, ir.Undefined), zeros)
    hits = builder.icmp_unsigned("==", tags, wanted)
    return builder.zext(builder.bitcast(hits, ir.IntType(16)), I64)


def _python_match16(address: int, tag: int) -> int:
    lanes = (ctypes.c_uint16 * 16).from_address(address)
    return sum(1 << i for i in range(16) if lanes[i] == tag & 0xFFFF)


match16 = define("match16", 2, _python_match16, _lower_match16)
"""Bit mask of the 16 uint16 lanes at ``address`` that equal ``tag`` (reads 32 bytes)."""


def _lower_copy(b: ir.IRBuilder, dst: ir.Value, src: ir.Value, size: ir.Value) -> ir.Value:
    kind = ir.FunctionType(ir.VoidType(), [I8P, I8P, I64, ir.IntType(1)])
    memmove = b.module.declare_intrinsic("llvm.memmove", [I8P, I8P, I64], kind)
    arguments = [b.inttoptr(dst, I8P), b.inttoptr(src, I8P), size, ir.Constant(ir.IntType(1), 0)]
    b.call(memmove, arguments)
    return ir.Constant(I64, 0)


def _python_copy(dst: int, src: int, size: int) -> int:
    ctypes.memmove(dst, src, size)
    return 0


copy = define("copy", 3, _python_copy, _lower_copy)
"""memmove of ``size`` bytes from ``src`` to ``dst``."""


def _call(count: int) -> Any:
    prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *([ctypes.c_int64] * count))

    def python(function: int, *arguments: int) -> int:
        return int(prototype(function)(*arguments))

    def lower(builder: ir.IRBuilder, function: ir.Value, *arguments: ir.Value) -> ir.Value:
        kind = ir.FunctionType(I64, [I64] * count)
        return builder.call(builder.inttoptr(function, kind.as_pointer()), list(arguments))

    return define(f"call{count}", count + 1, python, lower)


call1, call2, call3, call4 = (_call(n) for n in range(1, 5))
"""callN(function, a...): call the C function at address ``function``; narrow results are to be
masked by the caller (the upper bits of the return register are undefined)."""

GOLDEN = signed(0x9E3779B97F4A7C15)
"""2**64 / golden ratio, the multiplier of Fibonacci hashing (Knuth 6.4), as an int64."""
