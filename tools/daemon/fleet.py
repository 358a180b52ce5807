"""What the master asks its workers: connection and neighbour lists, by message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.messages import MasterPort, MessageError
from tools.control.errors import Code, ControlError
from tools.control.providers import ConnectionPage, NeighbourRow

CURSOR_BITS = 40  # entry number below, worker above
PAGE = 250  # rows per message: its record must fit the ring


class Fleet:
    """FleetOps over the message rings of ``count`` workers."""

    def __init__(self, port: MasterPort, count: int, deadline: float = 2.0) -> None:
        self._port, self._count, self._deadline = port, count, deadline

    async def _ask(self, worker: int, kind: str, body: Any) -> Any:
        try:
            return await self._port.request(worker, kind, body, self._deadline)
        except MessageError as error:
            raise ControlError(Code.MSG_FAIL, f"worker {worker + 1}: {error}") from error

    async def connections(
        self, cursor: int, limit: int, match: Mapping[str, Any] | None
    ) -> ConnectionPage:
        """A page of the connection list; the cursor holds worker and entry number."""
        worker, entry = cursor >> CURSOR_BITS, cursor & ((1 << CURSOR_BITS) - 1)
        rows: list[Mapping[str, Any]] = []
        while worker < self._count and len(rows) < limit:
            body = {"cursor": entry, "limit": min(PAGE, limit - len(rows))}
            answer = await self._ask(
                worker, "conn.list", {**body, "filter": dict(match) if match else None}
            )
            rows += answer["conns"]
            entry = answer["cursor"]
            if entry == 0:
                worker += 1
        done = worker >= self._count
        return ConnectionPage(rows, 0 if done else (worker << CURSOR_BITS) | entry)

    async def templates(
        self, cursor: int, limit: int, match: Mapping[str, Any] | None
    ) -> ConnectionPage:
        """A page of the templates of persistence, from any worker that answers: all see all."""
        rows: list[Mapping[str, Any]] = []
        while len(rows) < limit:
            body = {"cursor": cursor, "limit": min(PAGE, limit - len(rows))}
            answer = await self._ask_any(
                "template.list", {**body, "filter": dict(match) if match else None}
            )
            rows += answer["conns"]
            cursor = answer["cursor"]
            if cursor == 0:
                break
        return ConnectionPage(rows, cursor)

    async def _ask_any(self, kind: str, body: Any) -> Any:
        for worker in range(self._count - 1):
            try:
                return await self._ask(worker, kind, body)
            except ControlError:
                continue
        return await self._ask(self._count - 1, kind, body)

    async def neighbours(self) -> Sequence[NeighbourRow]:
        """Neighbour entries of all workers, worker by worker."""
        rows = []
        for worker in range(self._count):
            for row in await self._ask(worker, "neigh.list", {}):
                rows.append(
                    NeighbourRow(
                        worker + 1, row["addr"], row["mac"], row["dev"], row["state"], row["static"]
                    )
                )
        return rows
