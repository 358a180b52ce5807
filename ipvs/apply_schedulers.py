"""Apply records about user-written schedulers: machine code comes as bytes and is only copied."""

from __future__ import annotations

from typing import Any

from ipvs.apply_inet import ApplyError
from ipvs.extra import Extra, ExtraMemory
from ipvs.service import SCHED_USER, SCHEDULERS
from runtime.flatten import Block, Executable


class SchedulerRecords:
    """Handlers of sched.set and sched.del."""

    lists: dict[int, Any]
    user_schedulers: dict[str, Executable]
    # Replaced ones stay in memory: a few kilobytes each, and nobody need ask who still runs them.
    old_schedulers: list[Executable]

    def set_scheduler(self, body: dict[str, Any]) -> None:
        """Load or replace a scheduler; services that use it go on with the new one."""
        if body["name"] in SCHEDULERS:
            raise ApplyError(f"scheduler {body['name']} is built in")
        if not 0 <= body["entry"] < len(body["code"]):
            raise ApplyError(f"scheduler {body['name']}: entry outside of the code")
        if any(not 0 <= at <= len(body["code"]) - 8 for at in body["fixups"]):
            raise ApplyError(f"scheduler {body['name']}: fixup outside of the code")
        block = Block(bytes(body["code"]), body["entry"], tuple(body["fixups"]))
        made = Executable(block)
        if body["name"] in self.user_schedulers:
            self.old_schedulers.append(self.user_schedulers[body["name"]])
        self.user_schedulers[body["name"]] = made
        for parts in self.lists.values():
            extra: ExtraMemory = parts[2]
            if extra.scheduler == body["name"]:
                Extra(extra.address).function = made.address

    def delete_scheduler(self, body: dict[str, Any]) -> None:
        """Forget a scheduler; services that use it have no server to choose from then on."""
        made = self.user_schedulers.pop(body["name"], None)
        if made is not None:
            self.old_schedulers.append(made)
        for parts in self.lists.values():
            if parts[2].scheduler == body["name"]:
                Extra(parts[2].address).function = 0

    def use_scheduler(self, name: str, extra: ExtraMemory) -> int:
        """The number of a scheduler for a service record; a user's is entered in ``extra``.

        Raises ApplyError for an unknown one.
        """
        if name in SCHEDULERS:
            return SCHEDULERS[name]
        made = self.user_schedulers.get(name)
        if made is None:
            raise ApplyError(f"there is no scheduler {name}")
        extra.scheduler = name
        Extra(extra.address).function = made.address
        return SCHED_USER
