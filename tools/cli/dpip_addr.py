"""dpip addr: addresses of devices."""

from typing import Any

from tools.cli.dpip_args import (
    Invocation,
    bad,
    read_address,
    read_device,
    read_integer,
    read_only_device,
    read_words,
)
from tools.cli.literals import PREFIX_BITS
from tools.cli.session import Session

HELP = """\
Usage: dpip [-4|-6] [-s] [-v] addr show [dev DEVICE]
       dpip addr {add|set} ADDRESS[/LENGTH] dev DEVICE [OPTION]...
       dpip addr del ADDRESS[/LENGTH] dev DEVICE
       dpip [-4|-6] addr flush dev DEVICE
Options:
    broadcast ADDRESS
    scope host|link|global|NUMBER       default global
    valid_lft forever|SECONDS           default forever
    prefered_lft forever|SECONDS        default forever (also spelt preferred_lft)
    sapool                              a local address: keep a pool of source ports for it
Show: -s adds the use of the source port pools, -v lists every worker by itself.
"""

_SCOPES = ("host", "link", "global")
_LONGEST = 2**32 - 1


def show(session: Session, call: Invocation) -> int:
    """addr show"""
    rows = session.transport.call(
        "addr.show",
        dev=read_only_device(call.words),
        af=call.family,
        stats=call.stats,
        verbose=call.verbose,
    )
    for row in rows:
        session.out.write(address_lines(row, call.stats, call.verbose))
    return 0


def address_lines(row: dict[str, Any], stats: bool, verbose: bool) -> str:
    """The two lines of an address."""
    worker = f"[{row['cid']:02d}] " if verbose else ""
    broadcast = f"broadcast {row['broadcast']}" if row.get("broadcast") else ""
    text = (
        f"{worker}{row['af']} {row['addr']}/{row['plen']} scope {row['scope']} {row['dev']}\n"
        f"    {broadcast} valid_lft {row['valid_lft'] or 'forever'}"
        f" preferred_lft {row['preferred_lft'] or 'forever'}"
    )
    if (stats or verbose) and row.get("sapool") and "sa_used" in row:
        text += f" sa_used {row['sa_used']} sa_free {row['sa_free']} sa_miss {row['sa_miss']}"
    return text + "\n"


def add(session: Session, call: Invocation) -> int:
    """addr add"""
    return _put(session, call, "addr.add")


def change(session: Session, call: Invocation) -> int:
    """addr set"""
    return _put(session, call, "addr.set")


def _put(session: Session, call: Invocation, request: str) -> int:
    valued = ("dev", "broadcast", "scope", "valid_lft", "prefered_lft", "preferred_lft")
    found, subject = read_words(call.words, valued, ("sapool",))
    family, address, length = _prefix(subject, call.family)
    broadcast = None
    if "broadcast" in found:
        _, broadcast = read_address(found["broadcast"], family)
    preferred = found.get("prefered_lft", found.get("preferred_lft", "forever"))
    session.transport.call(
        request,
        addr=address,
        plen=length,
        dev=read_device(found),
        broadcast=broadcast,
        scope=_scope(found.get("scope", "global")),
        valid_lft=_lifetime(found.get("valid_lft", "forever"), "valid_lft"),
        preferred_lft=_lifetime(preferred, "prefered_lft"),
        sapool="sapool" in found,
    )
    return 0


def delete(session: Session, call: Invocation) -> int:
    """addr del; options of an address may stand there and mean nothing"""
    valued = ("dev", "broadcast", "scope", "valid_lft", "prefered_lft", "preferred_lft")
    found, subject = read_words(call.words, valued, ("sapool",))
    _, address, length = _prefix(subject, call.family)
    session.transport.call("addr.del", addr=address, plen=length, dev=read_device(found))
    return 0


def flush(session: Session, call: Invocation) -> int:
    """addr flush"""
    device = read_only_device(call.words)
    session.transport.call("addr.flush", dev=read_device({"dev": device or ""}), af=call.family)
    return 0


def _prefix(text: str | None, family: str | None) -> tuple[str, str, int]:
    if text is None:
        raise bad("missing IFADDR")
    address, slash, length_text = text.partition("/")
    family, address = read_address(address, family)
    bits = PREFIX_BITS[family]
    length = read_integer(length_text, bits, "prefix length") if slash else bits
    if not length:
        raise bad(f"invalid prefix length: 0 (1 to {bits})")
    return family, address, length


def _scope(text: str) -> str:
    return text if text in _SCOPES else str(read_integer(text, 255, "scope"))


def _lifetime(text: str, what: str) -> int:
    return 0 if text == "forever" else read_integer(text, _LONGEST, what)
