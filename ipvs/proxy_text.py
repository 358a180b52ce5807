"""Numbers and addresses as text, as in PROXY lines of version 1, to their bytes.

The texts stand in a line that is complete: nothing is read behind the first character that cannot
belong to them, at the latest its end.
"""

from __future__ import annotations

from runtime.intrinsics import load8, load16, store8, store16
from runtime.jit import compiled

BLANK, DOT, COLON = 32, 46, 58
GROUPS = 8


@compiled
def read_number(at, limit):
    """Decimal number at ``at``: value * 8 + digits; 0 for none, one over ``limit``, or with a
    leading zero (PROXY protocol 2.1 forbids them)."""
    value = 0
    digits = 0
    while digits < 6 and 48 <= load8(at + digits) <= 57:
        value = value * 10 + load8(at + digits) - 48
        digits += 1
    if digits == 0 or digits == 6 or value > limit or (digits > 1 and load8(at) == 48):
        return 0
    return value * 8 + digits


@compiled
def read_quad(at, to):
    """Four numbers with dots between them to four bytes; address behind the text, or 0."""
    for i in range(4):
        got = read_number(at, 255)
        if got == 0 or (i < 3 and load8(at + (got & 7)) != DOT):
            return 0
        store8(to + i, got >> 3)
        at += (got & 7) + (1 if i < 3 else 0)
    return at


@compiled
def _hex(character):
    """Value of a hexadecimal digit, or -1."""
    if 48 <= character <= 57:
        return character - 48
    letter = character | 32
    return letter - 87 if 97 <= letter <= 102 else -1


@compiled
def _read_group(at):
    """One to four hexadecimal digits at ``at``: value * 8 + how many; 0 for none."""
    value = 0
    digits = 0
    while digits < 4 and _hex(load8(at + digits)) >= 0:
        value = value * 16 + _hex(load8(at + digits))
        digits += 1
    return value * 8 + digits


@compiled
def _spread(to, groups, gap):
    """Open the ``gap`` that "::" stands for in so many ``groups``; 1, or 0 without need of one."""
    if groups == GROUPS:
        return 0
    behind = groups - gap
    for i in range(1, behind + 1):
        store16(to + 2 * (GROUPS - i), load16(to + 2 * (groups - i)))
    for i in range(gap, GROUPS - behind):
        store16(to + 2 * i, 0)
    return 1


@compiled
def read_address6(at, to):
    """An IPv6 address in any form of RFC 4291 2.2 to sixteen bytes; address behind it, or 0.

    A blank ends the text.
    """
    groups = 0
    gap = -1  # groups in front of "::"
    if load16(at) == COLON << 8 | COLON:
        gap = 0
        at += 2
    while load8(at) != BLANK:
        got = _read_group(at)
        behind = at + (got & 7)
        if got == 0 or groups == GROUPS:
            return 0
        if load8(behind) == DOT:
            if groups > GROUPS - 2:
                return 0
            at = read_quad(at, to + 2 * groups)
            groups += 2
            break
        store8(to + 2 * groups, got >> 11)
        store8(to + 2 * groups + 1, (got >> 3) & 0xFF)
        groups += 1
        at = behind
        if load8(at) != COLON:
            break
        at += 1
        if load8(at) == BLANK:
            return 0
        if load8(at) == COLON:
            if gap >= 0:
                return 0
            gap = groups
            at += 1
    if at == 0 or load8(at) != BLANK:
        return 0
    if gap >= 0:
        return at if _spread(to, groups, gap) else 0
    return at if groups == GROUPS else 0
