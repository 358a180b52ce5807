"""Reading services, real servers and local addresses from request fields."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError

from . import support
from .devices import DeviceTable
from .errors import Code
from .fields import Fields
from .matches import read_match
from .quic_lb import quic_lb_numbers
from .services import AnyKey, DestKey, DestOptions, LaddrRef, ServiceKey, ServiceOptions

#: 31 days, the limit of ipvsadm -p
MAX_PERSISTENT = 2678400
#: a year less one second, the limit of every timeout
MAX_TIMEOUT = 31535999
#: a day
MAX_SLOW_START = 86400
MAX_THRESHOLD = 0x7FFFFFFF

_PROXY = ("disable", "v1", "v2", "v1-insecure", "v2-insecure")
_CHECK_WORDS = ("default", "tcp", "udp", "sctp", "ping")
_CHECK = re.compile(r"(\d{1,3}),(?:(\d{1,3}),)?(\d{1,3})s(?:,(\d{1,5})-(\d{1,5})s)?")


def read_key(fields: Fields) -> AnyKey:
    """Field svc of a request: af, proto, addr, port, or match (NOTSUPP for fwmark keys)."""
    svc = fields.nested("svc")
    support.other_service_keys(svc.has("fwmark"))
    if svc.has("match"):
        match = read_match(svc, support.PROTOCOLS)
        svc.done()
        return match
    addr = svc.address("addr")
    svc.matches_family("af", addr)
    key = ServiceKey(svc.choice("proto", support.PROTOCOLS), addr, svc.integer("port", 0, 65535))
    svc.done()
    return key


def read_optional_key(fields: Fields) -> AnyKey | None:
    """Like `read_key`, None when the request names no service."""
    return read_key(fields) if fields.has("svc") else None


def read_options(fields: Fields, base: ServiceOptions) -> ServiceOptions:
    """Service options; what the request does not carry is taken from `base`."""
    return ServiceOptions(
        sched=fields.text("sched", base.sched, limit=15),
        persistent=fields.integer("persistent", 0, MAX_PERSISTENT, base.persistent),
        netmask=_read_netmask(fields) if fields.has("netmask") else base.netmask,
        ops=fields.flag("ops", base.ops),
        synproxy=fields.flag("synproxy", base.synproxy),
        conn_timeout=fields.integer("conn_timeout", 0, MAX_TIMEOUT, base.conn_timeout),
        expire_quiescent=fields.flag("expire_quiescent", base.expire_quiescent),
        quic=fields.flag("quic", base.quic),
        quic_lb=_read_quic_lb(fields) if fields.has("quic_lb") else base.quic_lb,
        proxy_protocol=fields.choice("proxy_protocol", _PROXY, base.proxy_protocol),
        hash_target=(
            fields.optional_choice("hash_target", ("sip", "qid"))
            if fields.has("hash_target")
            else base.hash_target
        ),
        slow_start=fields.integer("slow_start", 0, MAX_SLOW_START, base.slow_start),
        # A newly named scheduler comes without the flags of the one before it.
        sched_flags=fields.texts("sched_flags", () if fields.has("sched") else base.sched_flags),
        dest_check=_read_dest_check(fields) if fields.has("dest_check") else base.dest_check,
    )


def _read_netmask(fields: Fields) -> str | None:
    """A dotted IPv4 mask or an IPv6 prefix length; None for the full mask."""
    text = fields.optional_text("netmask")
    if text is None or text in ("255.255.255.255", "128"):
        return None
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 127:
        return str(int(text))
    try:
        mask = IPv4Network(f"0.0.0.0/{text}").netmask
    except (AddressValueError, NetmaskValueError, ValueError):
        mask = None
    if mask is None or str(mask) != text or int(mask) == 0:
        raise fields.wrong("netmask", "a mask such as 255.255.255.0 or a length 1..128")
    return text


def _read_quic_lb(fields: Fields) -> str | None:
    """LENGTH or LENGTH,CONFIGURATION as text; None for no QUIC-LB."""
    text = fields.optional_text("quic_lb")
    if text is not None and quic_lb_numbers(text) is None:
        raise fields.wrong("quic_lb", "LENGTH[,CONFIGURATION]: 1..15 bytes, configuration 0..6")
    return text


def _read_dest_check(fields: Fields) -> tuple[str, ...]:
    """Check words as given; "disable" adds nothing."""
    words = tuple(word for word in fields.texts("dest_check") if word != "disable")
    if not all(word in _CHECK_WORDS or _is_check_config(word) for word in words):
        raise fields.wrong(
            "dest_check",
            "a list of disable, default, tcp, udp, sctp, ping, D,Ws or D,U,Ws,MIN-MAXs",
        )
    return words


def _is_check_config(word: str) -> bool:
    """D,Ws (down only) or D,U,Ws,MIN-MAXs with non-zero byte values and seconds."""
    found = _CHECK.fullmatch(word)
    if not found or (found[2] is None) != (found[4] is None):
        return False
    counts = [int(text) for text in found.groups()[:3] if text is not None]
    if not all(1 <= count <= 255 for count in counts):
        return False
    return found[4] is None or 1 <= int(found[4]) <= int(found[5]) <= 65535


def read_dest_key(fields: Fields) -> DestKey:
    """Fields addr and port of a real server."""
    return DestKey(fields.address("addr"), fields.integer("port", 0, 65535))


def read_dest_options(fields: Fields, server_id: str = "") -> DestOptions:
    """Fields mode, weight, u_thresh, l_thresh; absent ones mean the original's defaults.

    `server_id` is what an absent one means: an edit that is silent about it leaves it.
    """
    return DestOptions(
        mode=fields.choice("mode", support.MODES, default="dr"),
        weight=fields.integer("weight", 0, 65535, default=1),
        u_thresh=fields.integer("u_thresh", 0, MAX_THRESHOLD, default=0),
        l_thresh=fields.integer("l_thresh", 0, MAX_THRESHOLD, default=0),
        server_id=_read_server_id(fields) if fields.has("server_id") else server_id,
    )


def _read_server_id(fields: Fields) -> str:
    """Hexadecimal digits of 1..15 bytes, or nothing."""
    text = (fields.optional_text("server_id") or "").lower()
    if re.fullmatch("([0-9a-f]{2}){0,15}", text) is None:
        raise fields.wrong("server_id", "1 to 15 bytes in hexadecimal digits")
    return text


def read_laddr(fields: Fields, devices: DeviceTable) -> LaddrRef:
    """Fields addr and dev of a local address; NOTEXIST for an unknown device."""
    addr = fields.address("addr")
    return LaddrRef(addr, devices.named(fields.text("dev"), Code.NOTEXIST).id)
