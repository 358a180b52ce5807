"""Apply records about devices, addresses and neighbours to one worker's stack."""

from __future__ import annotations

from typing import Any

from ipvs import operations, operations6, tcp
from ipvs.context import Ipvs
from ipvs.gate import InlineGate
from ipvs.worker import Worker
from netdev.port import Port
from stack import neigh
from stack.address6 import MULTICAST_LINK_HIGH, packed, solicited_low, words
from stack.context import Stack

# Settings of the context that are one number each.
NUMBERS = (
    *("xmit_ttl", "init_timeout", "toa", "new_isn", "uoa_packets", "uoa_in_ip"),
    "template_quiescent",
)


class ApplyError(ValueError):
    """A record that cannot be applied; nothing was changed.  The text names the reason."""


def address_number(text: str) -> int:
    """Host-order number of an IPv4 address; ApplyError for anything else."""
    try:
        raw = packed(text)
    except ValueError as error:
        raise ApplyError(str(error)) from error
    if len(raw) != 4:
        raise ApplyError(f"not an IPv4 address: {text!r}")
    return int.from_bytes(raw, "big")


def mac_number(text: str) -> int:
    """MAC address as the low 48 bits of a little-endian load of its six bytes."""
    raw = bytes.fromhex(text.replace(":", ""))
    if len(raw) != 6:
        raise ApplyError(f"not a MAC address: {text!r}")
    return int.from_bytes(raw, "little")


def is_ipv6(text: str) -> bool:
    """Whether an address's text is an IPv6 one's."""
    return ":" in text


class InetRecords:
    """Handlers of the records below IPVS; ``worker`` is what they change."""

    worker: Worker
    gate: InlineGate
    listeners: dict[tuple[int, int], set[tuple[str, int]]]
    """Addresses (and prefix lengths) behind each (device, low word of a solicited-node group)."""

    @property
    def context(self) -> Any:
        return Ipvs(self.worker.address)

    @property
    def stack(self) -> Any:
        return Stack(self.context.stack)

    def _run(self, full: str, *steps: tuple[int, ...]) -> None:
        """Have operations executed; ApplyError ``full`` when a table has no room."""
        if not self.gate.run(steps):
            raise ApplyError(full)

    def _port(self, body: dict[str, Any]) -> int:
        """The port index of a record; ApplyError when this worker has no such port."""
        if body["dev"] >= self.stack.port_count:
            raise ApplyError(f"no port {body['dev']} in this worker")
        return int(body["dev"])

    def set_device(self, body: dict[str, Any]) -> None:
        """MTU or MAC of a port that the worker was started with."""
        if body["id"] >= self.stack.port_count:
            raise ApplyError(f"no port {body['id']} in this worker")
        port = Port(self.stack.ports[body["id"]])
        port.mac, port.mtu = mac_number(body["mac"]), body["mtu"]
        port.up = 1 if body.get("up", True) else 0

    def set_address(self, body: dict[str, Any]) -> None:
        """One of our addresses: announced by the first worker (RFC 5227, RFC 4861)."""
        if not is_ipv6(body["addr"]):
            self.announce(body)
            return
        dev, check = self._port(body), 1 if body.get("check") else 0
        step = (operations6.ADDRESS6_NEW, *words(body["addr"]), dev, check)
        # RFC 4862 5.4.2: answers to the probe come to the group.
        self._run("", *self._listen(body), step)

    def _listen(self, body: dict[str, Any]) -> list[tuple[int, ...]]:
        """The step that joins an address's group, if it is the first one in it."""
        dev, low = body["dev"], solicited_low(words(body["addr"])[1])
        users = self.listeners.setdefault((dev, low), set())
        first = not users
        users.add((body["addr"], body.get("plen", 128)))
        return [(operations6.GROUP_JOIN, MULTICAST_LINK_HIGH, low, dev)] if first else []

    def _listen_no_more(self, body: dict[str, Any]) -> list[tuple[int, ...]]:
        """The step that leaves an address's group, if nobody is left in it.

        Without a prefix length the address is gone with all it had.
        """
        dev, low = body["dev"], solicited_low(words(body["addr"])[1])
        users, plen = self.listeners.get((dev, low), set()), body.get("plen")
        gone = {user for user in users if user[0] == body["addr"] and plen in (None, user[1])}
        users -= gone
        if users or not gone:
            return []
        del self.listeners[dev, low]
        return [(operations6.GROUP_LEAVE, MULTICAST_LINK_HIGH, low, dev)]

    def announce(self, body: dict[str, Any]) -> None:
        """Tell the link (once more) that an address is ours."""
        dev = self._port(body)
        if is_ipv6(body["addr"]):
            self._run("", (operations6.ADDRESS6_NEW, *words(body["addr"]), dev, 0))
            return
        address = address_number(body["addr"])
        if self.worker.index == 0 and Port(self.stack.ports[dev]).tx_queue >= 0:
            self._run("", (operations.ANNOUNCE, dev, address))

    def delete_address(self, body: dict[str, Any]) -> None:
        """The address's routes are deleted by records of theirs."""
        if is_ipv6(body["addr"]):
            step = (operations6.ADDRESS6_GONE, *words(body["addr"]), body["dev"])
            self._run("", *self._listen_no_more(body), step)

    def link_up(self, body: dict[str, Any]) -> None:
        """A port's link came up: whoever is there now hears of our groups."""
        self._run("", (operations6.GROUPS_REPORT, 0, 0, self._port(body)))

    def set_querier(self, body: dict[str, Any]) -> None:
        """Another worker heard a querier of multicast listeners."""
        step = (operations6.GROUPS_QUERIER, 0, 0, self._port(body), body["v1"], body["robustness"])
        self._run("", step)

    def set_neighbour(self, body: dict[str, Any]) -> None:
        """A neighbour from the operator (static) or learnt by another worker."""
        dev, mac = self._port(body), mac_number(body["mac"])
        static = 1 if body.get("static") else 0
        step: tuple[int, ...]
        if is_ipv6(body["addr"]):
            step = (operations6.NEIGHBOUR6_SET, *words(body["addr"]), dev, mac, static)
        else:
            step = (operations.NEIGHBOUR_SET, dev, address_number(body["addr"]), mac, static)
        self._run("neighbour table full", step)

    def delete_neighbour(self, body: dict[str, Any]) -> None:
        """Forget a neighbour's MAC."""
        if is_ipv6(body["addr"]):
            self._run("", (operations6.NEIGHBOUR6_DELETE, *words(body["addr"]), body["dev"]))
            return
        self._run("", (operations.NEIGHBOUR_DELETE, body["dev"], address_number(body["addr"])))

    def set_parameters(self, body: dict[str, Any]) -> None:
        """Tunable settings; names the worker does not know are ignored."""
        w, stack = self.context, self.stack
        if "tcp_timeouts" in body or "udp_timeouts" in body:
            tcp.set_timeouts(w.states, body.get("tcp_timeouts"), body.get("udp_timeouts"))
        for name in NUMBERS:
            if body.get(name) is not None:
                setattr(w, name, int(body[name]))
        if body.get("forwarding") is not None:
            stack.forwarding = int(body["forwarding"])
        for name, field in (("forwarding6", "forwarding6"), ("disable6", "disabled6")):
            if body.get(name) is not None:
                setattr(stack, field, int(body[name]))
        table = neigh.NeighbourTable(stack.neighbours)
        if body.get("neigh_timeout") is not None:
            table.reachable_ms = int(body["neigh_timeout"]) * 1000
        if body.get("neigh_queue") is not None:
            table.queue_limit = int(body["neigh_queue"])
