"""RSS for kernel tap ports: an eBPF program chooses the queue by the Toeplitz hash NICs use.

The kernel lets the owner of a multi-queue tap attach a program that names the queue of each frame
(TUNSETSTEERINGEBPF).  Ours computes what an RSS NIC with the given key and a round-robin
indirection table would, so a tap in a lab places packets exactly as hardware does.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct

from netdev.tap import descriptors

TUNSETSTEERINGEBPF = 0x800454E0
SYS_BPF = {"x86_64": 321, "aarch64": 280}
PROG_LOAD = 5
SOCKET_FILTER = 1
TABLE = 128  # entries of the imitated indirection table

R0, R6, R7, R8, R9 = 0, 6, 7, 8, 9
LDH_ABS, LDB_ABS, LDW_ABS, LDW_IND = 0x28, 0x30, 0x20, 0x40
MOV64_REG, MOV32_REG, MOV32_IMM = 0xBF, 0xBC, 0xB4
LSH32, RSH32, AND32, MUL32, XOR32_REG = 0x64, 0x74, 0x54, 0x24, 0xAC
JNE, JEQ, JSET, EXIT = 0x55, 0x15, 0x45, 0x95


class SteeringError(OSError):
    """The kernel does not let us steer this tap; the text says which step failed."""


def _op(code: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    immediate &= 0xFFFFFFFF
    return struct.pack("<BBhI", code, dst | (src << 4), offset, immediate)


def _hash_word(key: bytes, first_bit: int) -> list[bytes]:
    """R8 ^= contributions of the 32 input bits in R0, which are bits ``first_bit``.. of the
    tuple.  Without branches and sign masks: the verifier would follow each of 2**96 ways."""
    window = int.from_bytes(key, "big")
    width = len(key) * 8
    code = []
    for bit in range(32):
        part = (window >> (width - 32 - first_bit - bit)) & 0xFFFFFFFF
        code += [
            _op(MOV32_REG, R7, R0),
            _op(RSH32, R7, immediate=31 - bit),
            _op(AND32, R7, immediate=1),
            _op(MUL32, R7, immediate=part),
            _op(XOR32_REG, R8, R7),
        ]
    return code


def _words(key: bytes, first: int, count: int, first_bit: int) -> list[bytes]:
    """Hash ``count`` words of the frame from byte ``first`` on, as bits ``first_bit``.."""
    code = []
    for word in range(count):
        code += [_op(LDW_ABS, immediate=first + 4 * word), *_hash_word(key, first_bit + 32 * word)]
    return code


def _answer() -> list[bytes]:
    return [_op(MOV32_REG, R0, R8), _op(AND32, R0, immediate=TABLE - 1), _op(EXIT)]


def _guarded(checks: list[tuple[list[bytes], int, int]], body: list[bytes]) -> list[bytes]:
    """``body``, jumped over when one of the checks (load, jump, value) says so."""
    code: list[bytes] = []
    left = sum(len(load) + 1 for load, _, _ in checks) + len(body)
    for load, jump, value in checks:
        code += load
        left -= len(load) + 1
        code.append(_op(jump, R0, offset=left, immediate=value))
    return code + body


def program(key: bytes) -> bytes:
    """The eBPF instructions: queue number for TCP and UDP, queue 0 for the rest.

    IPv6 packets with extension headers and fragments are of the rest, as on most NICs.
    """
    tcp_or_udp = _op(JEQ, R0, offset=1, immediate=6)  # over the check for UDP behind it
    four = _guarded(
        [
            ([_op(LDH_ABS, immediate=12)], JNE, 0x0800),
            ([_op(LDH_ABS, immediate=20)], JSET, 0x3FFF),
            ([_op(LDB_ABS, immediate=23), tcp_or_udp], JNE, 17),
        ],
        [
            _op(LDB_ABS, immediate=14),
            _op(AND32, R0, immediate=15),
            _op(LSH32, R0, immediate=2),
            _op(MOV32_REG, R9, R0),
            *_words(key, 26, 2, 0),
            _op(LDW_IND, src=R9, immediate=14),
            *_hash_word(key, 64),
            *_answer(),
        ],
    )
    six = _guarded(
        [
            ([_op(LDH_ABS, immediate=12)], JNE, 0x86DD),
            ([_op(LDB_ABS, immediate=20), tcp_or_udp], JNE, 17),
        ],
        [*_words(key, 22, 9, 0), *_answer()],
    )
    head = [_op(MOV64_REG, R6, 1), _op(MOV32_IMM, R8, immediate=0)]
    return b"".join([*head, *four, *six, _op(MOV32_IMM, R0, immediate=0), _op(EXIT)])


def load(code: bytes) -> int:
    """File descriptor of the loaded program.  Raises SteeringError."""
    number = SYS_BPF.get(os.uname().machine)
    if number is None:
        raise SteeringError(f"no bpf system call known for {os.uname().machine}")
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "<IIQQIIQII", SOCKET_FILTER, len(code) // 8, ctypes.addressof(instructions),
        ctypes.addressof(licence), 0, 0, 0, 0, 0,
    )  # fmt: skip
    buffer = ctypes.create_string_buffer(attributes, 128)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(number, PROG_LOAD, buffer, len(attributes))
    if fd < 0:
        raise SteeringError(f"bpf program refused: {os.strerror(ctypes.get_errno())}")
    return int(fd)


def steer(interface: str, key: bytes, queues: int) -> list[int]:
    """Attach the program to a tap of this process; its indirection table (queue per entry).

    Raises SteeringError when there is no such tap here or the kernel refuses.
    """
    found = descriptors(interface)
    if not found:
        raise SteeringError(f"no tap {interface} in this process")
    fd = load(program(key))
    try:
        fcntl.ioctl(found[0], TUNSETSTEERINGEBPF, struct.pack("<i", fd))
    except OSError as error:
        raise SteeringError(f"tap {interface}: {error.strerror}") from error
    finally:
        os.close(fd)
    # The kernel takes the program's answer modulo the number of queues.
    return [index % queues for index in range(TABLE)]
