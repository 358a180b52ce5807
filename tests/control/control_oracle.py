"""The rules of the control plane once more, written with lists and loops only.

Every method answers with the expected code (0 for accepted) and applies the change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network


@dataclass
class Addr:
    dev: str
    addr: str
    plen: int
    sapool: bool
    expires: float | None

    @property
    def net(self) -> str:
        return str(IPv4Network(f"{self.addr}/{self.plen}", strict=False))


@dataclass
class Path:
    local: bool
    dst: str
    dev: str
    via: str | None = None
    src: str | None = None
    auto: bool = False

    @property
    def key(self) -> tuple[bool, str, str]:
        return (self.local, self.dst, self.dev)

    @property
    def plen(self) -> int:
        return IPv4Network(self.dst).prefixlen


@dataclass
class Svc:
    dests: list[tuple[str, int, str, int]] = field(default_factory=list)
    laddrs: list[tuple[str, str]] = field(default_factory=list)


class Oracle:
    """Addresses, routes and services of the naive kind."""

    def __init__(self) -> None:
        self.addrs: list[Addr] = []
        self.paths: list[Path] = []
        self.svcs: dict[int, Svc] = {}

    def addr_add(self, new: Addr) -> int:
        for old in self.addrs:
            if (old.dev, old.addr, old.plen) == (new.dev, new.addr, new.plen):
                return -3
        for old in self.addrs:
            if old.sapool and new.sapool and old.addr == new.addr and old.dev != new.dev:
                return -3
        self.addrs.append(new)
        self._auto(Path(True, f"{new.addr}/32", new.dev, auto=True))
        if new.plen < 32:
            self._auto(Path(False, new.net, new.dev, src=new.addr, auto=True))
        return 0

    def _auto(self, path: Path) -> None:
        if all(old.key != path.key for old in self.paths):
            self.paths.append(path)

    def addr_del(self, dev: str, addr: str, plen: int) -> int:
        for old in self.addrs:
            if (old.dev, old.addr, old.plen) == (dev, addr, plen):
                self._forget(old)
                return 0
        return -4

    def _forget(self, gone: Addr) -> None:
        self.addrs.remove(gone)
        mine = [one for one in self.addrs if one.dev == gone.dev]
        for path in list(self.paths):
            if path.auto and path.key == (True, f"{gone.addr}/32", gone.dev):
                if all(one.addr != gone.addr for one in mine):
                    self.paths.remove(path)
            elif path.auto and path.key == (False, gone.net, gone.dev) and gone.plen < 32:
                heirs = [one for one in mine if one.net == gone.net]
                if heirs:
                    path.src = heirs[0].addr
                else:
                    self.paths.remove(path)
        owned = {one.addr for one in self.addrs}
        for path in self.paths:
            if path.src == gone.addr and gone.addr not in owned:
                path.src = None

    def expire(self, now: float) -> None:
        for one in sorted(self.addrs, key=lambda one: one.dev):
            if one.expires is not None and one.expires <= now:
                self._forget(one)

    def _links(self, via: str) -> list[Path]:
        """Network routes covering `via`, best first."""
        covering = [
            path
            for path in self.paths
            if not path.local and IPv4Address(via) in IPv4Network(path.dst)
        ]
        return sorted(covering, key=lambda path: -path.plen)

    def route_add(self, new: Path, dev: str | None) -> int:
        owned = {one.addr for one in self.addrs}
        if dev is None:
            best = self._links(str(new.via))[:1]
            if not best or best[0].via is not None:
                return -8
            new.dev = best[0].dev
        if any(old.key == new.key for old in self.paths):
            return -3
        if new.via is not None:
            if new.via in owned:
                return -1
            links = [path for path in self._links(new.via) if path.via is None]
            if all(path.dev != new.dev for path in links):
                return -8
        if new.src is not None and new.src not in owned:
            return -1
        self.paths.append(new)
        return 0

    def route_del(self, local: bool, dst: str, dev: str | None) -> int:
        found = [
            path
            for path in self.paths
            if (path.local, path.dst) == (local, dst) and dev in (None, path.dev)
        ]
        if len(found) != 1:
            return -1 if found else -4
        self.paths.remove(found[0])
        return 0

    def route_flush(self, dev: str) -> None:
        self.paths = [path for path in self.paths if path.dev != dev or (path.local and path.auto)]

    def table(self) -> list[Path]:
        """Routes in display order."""
        networks = [path for path in self.paths if not path.local]
        local = [path for path in self.paths if path.local]
        return local + sorted(networks, key=lambda path: -path.plen)

    def source(self, path: Path) -> str | None:
        """The source address workers should use for the route."""
        if path.local or path.src is not None:
            return path.src
        target = IPv4Address(path.via or path.dst.split("/")[0])
        mine = [one for one in self.addrs if one.dev == path.dev]
        same = [one for one in mine if target in IPv4Network(one.net)]
        chosen = (same or mine)[-1:]
        return chosen[0].addr if chosen else None

    def usable(self, addr: str, dev: str) -> bool:
        """Whether a service may use the local address now."""
        return any((one.addr, one.dev, one.sapool) == (addr, dev, True) for one in self.addrs)

    def laddr_add(self, port: int, addr: str, dev: str) -> int:
        if port not in self.svcs:
            return -17
        if any(old[0] == addr for old in self.svcs[port].laddrs):
            return -3
        if not self.usable(addr, dev):
            return -4
        self.svcs[port].laddrs.append((addr, dev))
        return 0

    def laddr_del(self, port: int, addr: str, dev: str) -> int:
        if port not in self.svcs:
            return -17
        if (addr, dev) not in self.svcs[port].laddrs:
            return -4
        self.svcs[port].laddrs.remove((addr, dev))
        return 0

    def dest_change(self, verb: str, port: int, dest: tuple[str, int, str, int]) -> int:
        if port not in self.svcs:
            return -1
        dests = self.svcs[port].dests
        found = [i for i, old in enumerate(dests) if old[:2] == dest[:2]]
        if verb == "add":
            if found:
                return -3
            dests.insert(0, dest)
            return 0
        if not found:
            return -4
        if verb == "edit":
            dests[found[0]] = dest
        else:
            del dests[found[0]]
        return 0
