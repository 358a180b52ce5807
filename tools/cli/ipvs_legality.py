"""Which options go with which ipvsadm command.

Options that only refine another one (-6 after -f, --sort) or that describe a service without the
reference checking them (--quic, --conn-timeout, --proxy-protocol, --dest-check) are not listed:
they are accepted with every command.
"""

from dataclasses import dataclass

from tools.cli.session import UsageError

SERVICE = "service-address"
FORWARD = "forwarding-method"

_CHECKED_AS = {
    **dict.fromkeys(
        (
            "tcp-service",
            "udp-service",
            "sctp-service",
            "icmp-service",
            "icmpv6-service",
            "fwmark-service",
            "match",
        ),
        SERVICE,
    ),
    **dict.fromkeys(("gatewaying", "ipip", "masquerading", "fullnat", "snat"), FORWARD),
    "laddr": "local-address",
    "blklst": "blklst-address",
    "whtlst": "whtlst-address",
}
_UNCHECKED = frozenset(
    ("ipv6", "sort", "quic", "conn-timeout", "proxy-protocol", "dest-check"),
)

# The order in which violations are looked for: the first one found is the one reported.
_ORDER = (
    "numeric",
    "connection",
    SERVICE,
    "scheduler",
    "persistent",
    "netmask",
    "real-server",
    FORWARD,
    "weight",
    "u-threshold",
    "l-threshold",
    "mcast-interface",
    "timeout",
    "daemon",
    "stats",
    "rate",
    "thresholds",
    "persistent-conn",
    "nosort",
    "syncid",
    "exact",
    "ops",
    "pe",
    "local-address",
    "blklst-address",
    "synproxy",
    "ifname",
    "sockpair",
    "hash-target",
    "sched-flags",
    "slow-start",
    "quic-lb",
    "server-id",
    "cpu",
    "expire-quiescent",
    "whtlst-address",
)


@dataclass(frozen=True)
class Rule:
    """Options a command must have, may have, and may have only one of."""

    needs: frozenset[str] = frozenset()
    allows: frozenset[str] = frozenset()
    one_of: frozenset[str] = frozenset()


def _rule(needs: str = "", allows: str = "", one_of: str = "") -> Rule:
    return Rule(*(frozenset(names.split()) for names in (needs, allows, one_of)))


_SERVICE_RULE = _rule(
    SERVICE,
    "scheduler persistent netmask ops synproxy hash-target sched-flags slow-start "
    "expire-quiescent quic-lb",
)
_SERVER_RULE = _rule(
    f"{SERVICE} real-server", f"{FORWARD} weight u-threshold l-threshold server-id"
)

RULES = {
    "add-service": _SERVICE_RULE,
    "edit-service": _SERVICE_RULE,
    "delete-service": _rule(SERVICE),
    "clear": _rule(),
    "restore": _rule(),
    "set": _rule(),
    "list": _rule(
        allows="numeric stats rate thresholds persistent-conn nosort syncid exact sockpair cpu",
        one_of=f"connection {SERVICE} timeout daemon",
    ),
    "add-server": _SERVER_RULE,
    "edit-server": _SERVER_RULE,
    "delete-server": _rule(f"{SERVICE} real-server"),
    "start-daemon": _rule(allows="mcast-interface syncid"),
    "stop-daemon": _rule(allows="syncid"),
    "save": _rule(allows="numeric"),
    "zero": _rule(allows=SERVICE),
    "add-laddr": _rule(f"{SERVICE} local-address ifname"),
    "del-laddr": _rule(f"{SERVICE} local-address ifname"),
    "get-laddr": _rule(allows=f"{SERVICE} cpu"),
    "add-blklst": _rule(f"{SERVICE} blklst-address"),
    "del-blklst": _rule(f"{SERVICE} blklst-address"),
    "get-blklst": _rule(allows=SERVICE),
    "add-whtlst": _rule(f"{SERVICE} whtlst-address"),
    "del-whtlst": _rule(f"{SERVICE} whtlst-address"),
    "get-whtlst": _rule(allows=SERVICE),
    "help": _rule(),
    "version": _rule(),
}

# Messages name this command by what it does to the table, as the reference does.
_SHOWN_AS = {"clear": "flush"}


def check(command: str, options: list[tuple[str, str | None]]) -> None:
    """Raise UsageError unless the options (long names) are a legal set for the command."""
    rule, shown = RULES[command], _SHOWN_AS.get(command, command)
    given = _given(options)
    exclusive = None
    for name in _ORDER:
        if name not in given:
            if name in rule.needs:
                raise UsageError(
                    f"You need to supply the '{name}' option for the '{shown}' command"
                )
        elif name in rule.one_of:
            if exclusive:
                raise UsageError(
                    f"The option '{name}' conflicts with the '{exclusive}' option "
                    f"in the '{shown}' command"
                )
            exclusive = name
        elif name not in rule.needs | rule.allows:
            raise UsageError(f"Illegal '{name}' option with the '{shown}' command")
    if command == "list":
        _check_list(given)


def _given(options: list[tuple[str, str | None]]) -> set[str]:
    given: set[str] = set()
    for option, _ in options:
        if option not in _UNCHECKED:
            name = _CHECKED_AS.get(option, option)
            if name in given:
                raise UsageError(f"multiple '{name}' options specified")
            given.add(name)
    return given


def _check_list(given: set[str]) -> None:
    columns = {"stats", "rate", "thresholds"}
    if given & {"timeout", "daemon"}:
        columns.add("persistent-conn")
    if given & {"connection", "timeout", "daemon"} and given & columns:
        raise UsageError("options conflicts in the list command")
    if "sockpair" in given and "connection" not in given:
        raise UsageError("The 'sockpair' option needs the 'connection' option")
