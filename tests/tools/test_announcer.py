"""Announcements of addresses: repeated, and again when a link comes up."""

from __future__ import annotations

from typing import Any

from tools.daemon.announcer import Announcer

OURS = {"addr": "192.0.2.100", "dev": 0, "plen": 32, "sapool": False}


class Links:
    """Two ports, and what was announced on them."""

    def __init__(self) -> None:
        self.up = {0: True, 1: True}
        self.sent: list[tuple[int, str]] = []
        self.announcer = Announcer(self.publish, self.up.__getitem__)

    def publish(self, kind: str, body: dict[str, Any]) -> None:
        assert kind == "announce" or (kind, body.keys()) == ("link.up", {"dev"})
        self.sent.append((body["dev"], body.get("addr", "up")))

    def ticks(self, count: int) -> list[list[tuple[int, str]]]:
        """What each of so many seconds sent."""
        result = []
        for _ in range(count):
            self.sent = []
            self.announcer.tick()
            result.append(self.sent)
        return result


def test_an_address_is_announced_twice_more() -> None:
    links = Links()
    links.announcer.heard("addr.set", OURS)
    assert links.ticks(6) == [[], [(0, "192.0.2.100")], [], [(0, "192.0.2.100")], [], []]


def test_all_addresses_of_a_link_that_comes_up() -> None:
    links = Links()
    links.announcer.heard("addr.set", OURS)
    links.announcer.heard("addr.set", {**OURS, "addr": "2001:db8::1", "dev": 1})
    links.ticks(5)
    links.up[0] = False
    assert links.ticks(2) == [[], []]
    links.up[0] = True
    mine = [(0, "192.0.2.100")]
    assert links.ticks(6) == [[(0, "up"), *mine], mine, [], mine, [], []]


def test_nothing_is_sent_while_the_link_is_down() -> None:
    links = Links()
    links.up[0] = False
    links.announcer.heard("addr.set", OURS)
    assert links.ticks(9) == [[]] * 9
    links.up[0] = True
    assert links.ticks(1) == [[(0, "up"), (0, "192.0.2.100")]]


def test_local_addresses_and_addresses_that_go() -> None:
    links = Links()
    links.announcer.heard("laddr.set", {"id": 4, "addr": "198.19.0.200", "dev": 1})
    links.announcer.heard("addr.set", OURS)
    assert links.ticks(1) == [[(1, "198.19.0.200")]]
    links.announcer.heard("laddr.del", {"id": 4})
    links.announcer.heard("laddr.del", {"id": 9})
    links.announcer.heard("addr.del", OURS)
    links.announcer.heard("route.del", {"dst": "0.0.0.0"})
    assert links.ticks(5) == [[]] * 5
