"""`port KIND ARGS` of a device block: which DPDK port stands behind a device name."""

import re
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

from runtime.config_kinds import Custom, Int, Kind, Text
from runtime.config_lex import quote

_PCI = re.compile(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}:[01][0-9a-f]\.[0-7])", re.IGNORECASE)


def pci_address(text: str) -> str:
    """Return a PCI address with its domain, in lower case; raises ValueError."""
    match = _PCI.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a PCI address such as 0000:01:00.0")
    return f"{match[1] or '0000'}:{match[2]}".lower()


def mac_address(text: str) -> str:
    """Return a unicast MAC address in lower case; raises ValueError."""
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", text, re.IGNORECASE | re.ASCII):
        raise ValueError(f"'{text}' is not a MAC address such as 02:00:00:00:00:01")
    if int(text[:2], 16) & 1:
        raise ValueError(f"'{text}' is a multicast address, a port needs a unicast one")
    return text.lower()


def _arg(kind: Kind, default: Any = MISSING, word: str = "") -> Any:
    """A `key=value` argument of a port kind; one with `word` is that bare word."""
    return field(default=default, metadata={"kind": kind, "word": word})


_PATH = Text("a file name", r"[^\s\",]+")  # a comma would end it in the argument list of DPDK


@dataclass(frozen=True)
class PciPort:
    """A network card, named by its PCI address."""

    KIND: ClassVar[str] = "pci"
    addr: str


@dataclass(frozen=True)
class TapPort:
    """A kernel tap interface; the kernel's side is the cable. mac: of the DPDK side."""

    KIND: ClassVar[str] = "tap"
    iface: str | None = _arg(
        Text("an interface name of up to 15 characters", r"[\w.-]{1,15}"), None
    )
    mac: str | None = _arg(Text("a MAC address", ".+", mac_address), None)


@dataclass(frozen=True)
class PcapPort:
    """Frames from a capture file, sent frames into another; infinite: replay for ever."""

    KIND: ClassVar[str] = "pcap"
    rx: str = _arg(_PATH)
    tx: str = _arg(_PATH)
    infinite: bool = _arg(Kind(), False, "infinite")


@dataclass(frozen=True)
class NullPort:
    """Receives empty frames of `size` bytes at any rate and drops what is sent."""

    KIND: ClassVar[str] = "null"
    size: int = _arg(Int(14, 9018), 64)
    copy: int = _arg(Int(0, 1), 0)


@dataclass(frozen=True)
class RingPort:
    """A ring in memory: what is sent is received again."""

    KIND: ClassVar[str] = "ring"


@dataclass(frozen=True)
class MemifPort:
    """Shared memory with another process; id must be equal on both sides."""

    KIND: ClassVar[str] = "memif"
    socket: str = _arg(_PATH, "/run/memif.sock")
    id: int = _arg(Int(0, (1 << 32) - 1), 0)
    role: str = _arg(Text("server or client", "server|client"), "client")


@dataclass(frozen=True)
class VdevPort:
    """Any virtual device, as DPDK's --vdev option writes it: "net_af_packet0,iface=eth1"."""

    KIND: ClassVar[str] = "vdev"
    spec: str


Port = PciPort | TapPort | PcapPort | NullPort | RingPort | MemifPort | VdevPort
_KINDS = (PciPort, TapPort, PcapPort, NullPort, RingPort, MemifPort, VdevPort)


def parse_port(words: tuple[str, ...]) -> Port:
    """Read the words after `port`; raises ValueError."""
    kind, args = words[0], words[1:]
    if kind in ("pci", "vdev"):
        if len(args) != 1:
            raise ValueError(f"'{kind}' takes one argument (quote it if it holds blanks)")
        return PciPort(pci_address(args[0])) if kind == "pci" else _vdev(args[0])
    for cls in _KINDS:
        if cls.KIND == kind:
            return cls(**_arguments(cls, args))
    raise ValueError(f"'{kind}' is not one of {', '.join(cls.KIND for cls in _KINDS)}")


def _vdev(spec: str) -> VdevPort:
    if not re.match(r"(net|eth)_[a-z0-9_]+(,|$)", spec):
        raise ValueError(f"'{spec}' is not a DPDK network device such as net_null0,size=64")
    return VdevPort(spec)


def _arguments(cls: type, words: tuple[str, ...]) -> dict[str, Any]:
    known = {item.name: item for item in fields(cls)}
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if key not in known:
            raise ValueError(f"'{word}' is unknown, allowed: {_usage(cls) or 'nothing'}")
        if key in found:
            raise ValueError(f"'{key}' is given twice")
        if bool(equals) == bool(known[key].metadata["word"]) or (equals and not text):
            raise ValueError(f"'{word}' should be {_usage_of(known[key])}")
        try:
            found[key] = known[key].metadata["kind"].parse((text,)) if equals else True
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    for name, item in known.items():
        if item.default is MISSING and name not in found:
            raise ValueError(f"'{_usage_of(item)}' is missing")
    return found


def _usage_of(item: Any) -> str:
    return item.metadata["word"] or f"{item.name}=..."


def _usage(cls: type) -> str:
    return " ".join(_usage_of(item) for item in fields(cls))


def format_port(port: Port) -> str:
    """Return the words `parse_port` reads as port."""
    if isinstance(port, PciPort):
        return f"pci {port.addr}"
    if isinstance(port, VdevPort):
        return f"vdev {quote(port.spec)}"
    words = [port.KIND]
    for item in fields(port):
        value = getattr(port, item.name)
        if value != item.default:
            words.append(item.metadata["word"] or f"{item.name}={value}")
    return " ".join(words)


_GRAMMAR = (
    "pci 0000:01:00.0; tap [iface=NAME] [mac=MAC]; pcap rx=FILE tx=FILE [infinite]; "
    "null [size=14-9018] [copy=0-1]; ring; memif [socket=PATH] [id=N] [role=server|client]; "
    "vdev DPDK_VDEV"
)
PORT = Custom(parse_port, format_port, _GRAMMAR)
