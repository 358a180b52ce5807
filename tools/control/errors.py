"""Error codes of the control API and the exception that carries one.

Numbers and texts are those of the original (EDPVS_* and dpvs_strerror), so that its tools print
the same words and exit with the same status.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Negative result codes; the value goes on the wire."""

    INVAL = -1
    NOMEM = -2
    EXIST = -3
    NOTEXIST = -4
    INVPKT = -5
    DROP = -6
    NOPROT = -7
    NOROUTE = -8
    DEFRAG = -9
    FRAG = -10
    DPDKAPIFAIL = -11
    IDLE = -12
    BUSY = -13
    NOTSUPP = -14
    RESOURCE = -15
    OVERLOAD = -16
    NOSERV = -17
    DISABLED = -18
    NOROOM = -19
    NONEALCORE = -20
    CALLBACKFAIL = -21
    IO = -22
    MSG_FAIL = -23
    MSG_DROP = -24
    PKTSTOLEN = -25
    SYSCALL = -26
    NODEV = -27


ERROR_TEXT: dict[Code, str] = {
    Code.INVAL: "invalid parameter",
    Code.NOMEM: "no memory",
    Code.EXIST: "already exist",
    Code.NOTEXIST: "not exist",
    Code.INVPKT: "invalid packet",
    Code.DROP: "packet dropped",
    Code.NOPROT: "no protocol",
    Code.NOROUTE: "no route",
    Code.DEFRAG: "defragment error",
    Code.FRAG: "fragment error",
    Code.DPDKAPIFAIL: "failed dpdk api",
    Code.IDLE: "nothing to do",
    Code.BUSY: "resource busy",
    Code.NOTSUPP: "not support",
    Code.RESOURCE: "no resource",
    Code.OVERLOAD: "overloaded",
    Code.NOSERV: "no service",
    Code.DISABLED: "disabled",
    Code.NOROOM: "no room",
    Code.NONEALCORE: "non-EAL thread lcore",
    Code.CALLBACKFAIL: "callback failed",
    Code.IO: "I/O error",
    Code.MSG_FAIL: "msg callback failed",
    Code.MSG_DROP: "msg dropped",
    Code.PKTSTOLEN: "stolen packet",
    Code.SYSCALL: "system call failed",
    Code.NODEV: "no such device",
}


class ControlError(Exception):
    """A refused request: `code` for programs, `detail` (one sentence) for the operator."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail

    @property
    def text(self) -> str:
        """The original's text of the code, such as "already exist"."""
        return ERROR_TEXT[self.code]
