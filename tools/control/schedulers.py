"""User-written schedulers: loaded by an operator, published to every worker as machine code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from . import replication as stream
from . import support
from .errors import Code, ControlError

NAME = re.compile(r"[a-z][a-z0-9_-]{0,14}")
MAX_SCHEDULERS = 256
MAX_CODE = 256 * 1024  # it travels in one message


@dataclass(frozen=True)
class UserScheduler:
    """One loaded scheduler: where it came from and what became of it."""

    name: str
    path: str
    source: str
    code: bytes
    entry: int
    fixups: tuple[int, ...]


class SchedulerControl:
    """All loaded schedulers by name; ``users`` tells the schedulers that services use."""

    def __init__(self, publisher: stream.Publisher, users: Callable[[], Iterable[str]]) -> None:
        self._table: dict[str, UserScheduler] = {}
        self._publisher = publisher
        self._users = users

    def check_name(self, name: str) -> None:
        """INVAL for a name that no scheduler of a user can have, RESOURCE when there are many."""
        if name in support.SCHEDULERS:
            raise ControlError(Code.INVAL, f"{name} is a built-in scheduler")
        if not NAME.fullmatch(name):
            raise ControlError(
                Code.INVAL,
                f"'{name}' is no scheduler name: up to 15 small letters, digits, _ and -",
            )
        if name not in self._table and len(self._table) >= MAX_SCHEDULERS:
            raise ControlError(Code.RESOURCE, f"there are {MAX_SCHEDULERS} schedulers already")

    def load(self, scheduler: UserScheduler) -> None:
        """Add a scheduler or replace the one of that name, also for services that use it."""
        self.check_name(scheduler.name)
        if len(scheduler.code) > MAX_CODE:
            raise ControlError(Code.INVAL, f"{scheduler.name}: its machine code is too large")
        self._table[scheduler.name] = scheduler
        self._publisher.publish(*stream.scheduler_set(scheduler))

    def unload(self, name: str) -> None:
        """Remove a scheduler; NOTEXIST when there is none, BUSY while a service uses it."""
        if name not in self._table:
            raise ControlError(Code.NOTEXIST, f"there is no loaded scheduler '{name}'")
        if name in self._users():
            raise ControlError(Code.BUSY, f"scheduler {name} is used by a service")
        del self._table[name]
        self._publisher.publish(*stream.scheduler_del(name))

    @property
    def names(self) -> list[str]:
        """Names that a service may use besides the built-in ones."""
        return list(self._table)

    def rows(self) -> list[dict[str, Any]]:
        """What a listing shows."""
        users = list(self._users())
        return [
            {
                "name": row.name, "path": row.path, "source": row.source,
                "bytes": len(row.code), "services": users.count(row.name),
            }
            for row in self._table.values()
        ]  # fmt: skip

    def snapshot(self) -> list[stream.Record]:
        """Records that load them all."""
        return [stream.scheduler_set(row) for row in self._table.values()]
