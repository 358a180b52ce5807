"""dpip link set, add, del: settings of devices."""

from collections.abc import Callable

from tools.cli.dpip_args import Invocation, bad
from tools.cli.literals import parse_integer, parse_mac
from tools.cli.session import Session

_LONGEST_MS = 2**31 - 1


def _one_of(*words: str) -> Callable[[str], str | None]:
    return lambda value: value if value in words else None


def _between(low: int, high: int) -> Callable[[str], str | None]:
    def read(value: str) -> str | None:
        number = parse_integer(value, low, high)
        return None if number is None else str(number)

    return read


def _policy(value: str) -> str | None:
    policies = ("layer2", "layer23", "layer34")
    return value.lower() if value in policies + tuple(p.upper() for p in policies) else None


_ON_OFF = _one_of("on", "off")

# Item: what reads its value, and the message for a value it does not take.
_ITEMS: dict[str, tuple[Callable[[str], str | None], str]] = {
    **{
        item: (_ON_OFF, f"invalid arguement value for '{item}': {{}} (on or off)")
        for item in ("promisc", "allmulticast", "forward2kni", "lldp", "tc-egress", "tc-ingress")
    },
    "link": (_one_of("up", "down"), "invalid arguement value for 'link': {} (up or down)"),
    "addr": (parse_mac, "invalid arguement value for 'addr': {} (a MAC address)"),
    "bond-mode": (_between(0, 6), "invalid bonding mode: {}"),
    "bond-primary": (lambda value: value or None, "invalid arguement value for 'bond-primary': {}"),
    "bond-xmit-policy": (_policy, "invalid xmit-poliy: {}"),
    "bond-monitor-interval": (_between(1, _LONGEST_MS), "invalid link_monitor_interval: {}"),
    "bond-link-down-prop": (_between(0, _LONGEST_MS), "invalid link_down_prop: {}"),
    "bond-link-up-prop": (_between(0, _LONGEST_MS), "invalid link_up_prop: {}"),
}


def change(session: Session, call: Invocation) -> int:
    """link set"""
    device, item, value = _read(call)
    if item not in _ITEMS:
        raise bad(f"invalid parameter name '{item}'")
    read, message = _ITEMS[item]
    checked = read(value)
    if checked is None:
        raise bad(message.format(value))
    session.transport.call("link.set", dev=device, item=item, value=checked)
    return 0


def add(session: Session, call: Invocation) -> int:
    """link add: a slave of a bonding device"""
    return _change_slave(session, call, "link.add")


def delete(session: Session, call: Invocation) -> int:
    """link del: a slave of a bonding device"""
    return _change_slave(session, call, "link.del")


def _change_slave(session: Session, call: Invocation, request: str) -> int:
    device, item, value = _read(call)
    if item != "bond-slave":
        raise bad(f"invalid parameter name '{item}'")
    session.transport.call(request, dev=device, item=item, value=value)
    return 0


def _read(call: Invocation) -> tuple[str, str, str]:
    """Device, item and value of a command line; raises UsageError."""
    words = call.words
    if not words or not words[0]:
        raise bad("no device specified.")
    if words[0].startswith("cpu"):
        raise bad(f"{words[0]} is a core: only devices have settings")
    if len(words) < 2:
        raise bad("missing parameter name")
    if len(words) < 3:
        raise bad(f"missing argument for `{words[1]}'")
    if len(words) > 3:
        raise bad(f"too many arguments: {words[3]}")
    return words[0], words[1], words[2]
