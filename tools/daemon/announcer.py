"""Telling the links, again and again, which addresses are ours.

The first announcement of an address is lost when the link is still coming up, the switch port does
not forward yet, or a frame gets lost; neighbours that knew the address elsewhere would then send
there until their own entry ages.  So every address is announced twice more (RFC 5227 section 2.3
asks for two in all), and all of a port's again when its link comes up.  Workers also report their
multicast groups then; the repetitions of these reports are their own (stack/mld.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

AGAIN = (2, 4)  # ticks (seconds) after an address came or its link came up


class Announcer:
    """Follows the records of addresses; ``publish(kind, body)`` sends ``announce`` and ``link.up``.

    ``link(dev)`` says whether a port's link is up.
    """

    def __init__(
        self, publish: Callable[[str, dict[str, Any]], None], link: Callable[[int], bool]
    ) -> None:
        self._publish, self._link = publish, link
        self._due: dict[tuple[int, str], list[int]] = {}  # (dev, address): ticks to go
        self._local: dict[int, tuple[int, str]] = {}  # local addresses by id
        self._up: dict[int, bool] = {}

    def heard(self, kind: str, body: Mapping[str, Any]) -> None:
        """A record was published."""
        if kind == "addr.set":
            self._due[body["dev"], body["addr"]] = list(AGAIN)
        elif kind == "addr.del":
            self._due.pop((body["dev"], body["addr"]), None)
        elif kind == "laddr.set":
            self._local[body["id"]] = body["dev"], body["addr"]
            self._due[body["dev"], body["addr"]] = [0, *AGAIN]
        elif kind == "laddr.del":
            self._due.pop(self._local.pop(body["id"], (-1, "")), None)

    def tick(self) -> None:
        """A second has passed."""
        for dev in {dev for dev, _ in self._due}:
            up = self._link(dev)
            if up and not self._up.get(dev, True):
                self._publish("link.up", {"dev": dev})
                for key in self._due:
                    if key[0] == dev:
                        self._due[key] = [0, *AGAIN]
            self._up[dev] = up
        for (dev, address), ticks in self._due.items():
            if not ticks or not self._up[dev]:
                continue
            ticks[:] = [left - 1 for left in ticks]
            if ticks[0] <= 0:
                ticks.pop(0)
                self._publish("announce", {"addr": address, "dev": dev})
