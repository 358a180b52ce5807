"""A command line of ipvsadm with every value read and checked."""

from dataclasses import dataclass, field
from typing import Any

from tools.cli import ipvs_values as values
from tools.cli.ipvs_legality import check
from tools.cli.ipvs_match import parse_match
from tools.cli.ipvs_options import scan
from tools.cli.literals import parse_integer
from tools.cli.names import Names
from tools.cli.session import UsageError

_SERVICE_PROTOCOLS = {
    "tcp-service": "tcp",
    "udp-service": "udp",
    "sctp-service": "sctp",
    "icmp-service": "icmp",
    "icmpv6-service": "icmpv6",
}
_MODES = {
    "gatewaying": "dr",
    "ipip": "tunnel",
    "masquerading": "nat",
    "fullnat": "fullnat",
    "snat": "snat",
}
VIEWS = ("stats", "rate", "thresholds", "persistent-conn")
SAME_PORT_MODES = ("dr", "tunnel")


@dataclass
class Line:
    """What one command line asks for. Fields of options that were not given hold their defaults;
    `given` tells the two apart."""

    command: str
    given: set[str]
    service: dict[str, Any] | None = None
    family: str = "inet"
    scheduler: str = "wlc"
    hash_target: str | None = None
    sched_flags: list[str] = field(default_factory=list)
    slow_start: int = 0
    persistent: int = 0
    netmask: str | None = None
    synproxy: bool = False
    conn_timeout: int = 0
    quic_lb: str = ""
    proxy_protocol: str = "disable"
    dest_check: list[str] = field(default_factory=list)
    server: tuple[str, int] | None = None
    mode: str = "dr"
    weight: int = 1
    u_thresh: int = 0
    l_thresh: int = 0
    server_id: str = ""
    laddr: str = ""
    ifname: str = ""
    entry: str = ""
    cpu: int = 0
    sockpair: dict[str, Any] | None = None
    timeouts: tuple[int, ...] = ()

    @property
    def view(self) -> str | None:
        """The list variant asked for; of several, the one the reference prefers."""
        return next((view for view in VIEWS if view in self.given), None)


def read_line(argv: list[str], names: Names) -> Line:
    """The command line `argv` (without program name); raises UsageError."""
    scanned = scan(argv)
    check(scanned.command, scanned.options)
    line = Line(scanned.command, {option for option, _ in scanned.options})
    _check_words(scanned.command, scanned.command_value, scanned.words)
    if line.command == "set":
        line.timeouts = tuple(int(word) for word in scanned.words[:3])
    _read_service(line, scanned.options, names)
    checks: list[str] = []
    for option, value in scanned.options:
        if option == "dest-check":
            checks.append(value or "")
        else:
            _read_option(line, option, value, names)
    line.dest_check = values.dest_checks(checks)
    if line.command in ("add-service", "edit-service"):
        _check_service(line)
    if line.command in ("add-server", "edit-server", "delete-server"):
        _read_server(line, dict(scanned.options)["real-server"] or "", names)
    return line


def _check_words(command: str, command_value: str | None, words: list[str]) -> None:
    """Refuse words that belong to no option; --set and the sync commands have some."""
    if command in ("start-daemon", "stop-daemon") and command_value not in ("master", "backup"):
        raise UsageError(f"illegal {command} parameter specified: master or backup")
    if command == "set":
        if len(words) < 3:
            raise UsageError("--set option requires 3 timeout values")
        for word in words[:3]:
            if parse_integer(word, 0, values.LONGEST_PERSISTENCE) is None:
                raise UsageError(f"invalid timeout value `{word}' specified")
        words = words[3:]
    if words:
        raise UsageError(f"unexpected argument {words[0]}")


def _read_service(line: Line, options: list[tuple[str, str | None]], names: Names) -> None:
    """Read the option that selects the service: everything else may depend on its family."""
    for option, value in options:
        text = value or ""
        if proto := _SERVICE_PROTOCOLS.get(option):
            what = "virtual server address[:port]"
            family, address, port = values.endpoint(text, proto, names, what)
            line.service = {"af": family, "proto": proto, "addr": address, "port": port or 0}
            line.family = family
        elif option == "fwmark-service":
            line.service = {"af": "inet", "fwmark": values.fwmark(text)}
        elif option == "match":
            try:
                line.service = {"match": parse_match(text)}
            except ValueError as fault:
                raise UsageError(f"illegal match specified: {fault}") from fault
            line.family = line.service["match"]["af"]
        elif option == "ipv6":
            if line.service is None or "fwmark" not in line.service:
                raise UsageError("-6 used before -f")
            line.family = line.service["af"] = "inet6"


def _read_option(line: Line, option: str, value: str | None, names: Names) -> None:
    text = value or ""
    match option:
        case "scheduler":
            line.scheduler = text
            if text == "conhash" and line.hash_target is None:
                line.hash_target = "sip"
        case "hash-target":
            if text not in ("sip", "qid"):
                raise UsageError(f"hash target not support: `{text}' is neither sip nor qid")
            line.hash_target = text
        case "sched-flags":
            line.sched_flags = values.scheduler_flags(text)
        case "slow-start":
            line.slow_start = values.number(text, 0, 86400, "slow-start")
        case "persistent":
            line.persistent = values.persistence(value)
        case "netmask":
            line.netmask = values.netmask(text, line.family)
        case "synproxy":
            line.synproxy = values.switch(text)
        case "conn-timeout":
            line.conn_timeout = values.number(text, 0, values.INT_MAX, "conn-timeout")
        case "proxy-protocol":
            line.proxy_protocol = values.proxy_protocol(text)
        case "weight":
            line.weight = values.number(text, 0, 65535, "weight")
        case "u-threshold":
            line.u_thresh = values.number(text, 0, values.INT_MAX, "u_threshold")
        case "l-threshold":
            line.l_thresh = values.number(text, 0, values.INT_MAX, "l_threshold")
        case "quic-lb":
            line.quic_lb = text
        case "server-id":
            line.server_id = "" if text == "none" else text
        case "laddr":
            line.laddr = values.local_address(text, names)
        case "ifname":
            line.ifname = text
        case "blklst" | "whtlst":
            line.entry = values.access_entry(text, names, "black" if option[0] == "b" else "white")
        case "cpu":
            line.cpu = values.number(text, 0, 255, "cpu")
        case "syncid":
            values.number(text, 0, 255, "syncid")
        case "sockpair":
            line.sockpair = values.socket_pair(text)
        case _ if option in _MODES:
            line.mode = _MODES[option]


def _check_service(line: Line) -> None:
    service = line.service or {}
    if service.get("port") == 0 and not line.persistent:
        raise UsageError("Zero port specified for no-match and non-persistent service")
    if "ops" in line.given and "fwmark" not in service and _proto(service) != "udp":
        raise UsageError("One-Packet Scheduling is only for UDP virtual services")
    if "sched-flags" in line.given and line.scheduler != "mh":
        raise UsageError("scheduler flags can only be set when schedule is mh")
    if "hash-target" in line.given:
        if line.scheduler != "conhash":
            raise UsageError("hash target can only be set when schedule is conhash")
        if line.hash_target == "qid" and _proto(service) != "udp":
            raise UsageError("qid hash can only be set in udp service")


def _proto(service: dict[str, Any]) -> str | None:
    return service.get("proto") or service.get("match", {}).get("proto")


def _read_server(line: Line, text: str, names: Names) -> None:
    """-r: its port is that of the service where the mode cannot translate ports, and none where
    the service takes all."""
    service = line.service or {}
    proto = _proto(service) or "tcp"
    what = "real server address[:port]"
    _, address, port = values.endpoint(text, proto, names, what)
    if "fwmark" in service:
        port = port or 0
    elif line.command != "delete-server" and line.mode in SAME_PORT_MODES:
        port = service.get("port", 0)
    elif port is None and service.get("port") == 0:
        port = 0
    if port is None:
        raise UsageError(f"the real server needs a port: -r {text}:PORT")
    line.server = (address, port)
