"""Small stable integers that name an object in every worker's flat tables.

An id that workers may still refer to (a connection holds its real server, a connection holds a
port of a local address) must not be given to another object. A released id is therefore retired:
it becomes free only once `idle(id)` says that nobody refers to it, and not before `grace` seconds
have passed, because a worker may be a few messages behind the master. The same object coming back
while its id is retired gets the same id again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from .errors import Code, ControlError

K = TypeVar("K", bound=Hashable)


class IdPool(Generic[K]):
    """Allocates the lowest free id of 0..capacity-1; keys identify the owners."""

    def __init__(
        self,
        what: str,
        capacity: int,
        clock: Callable[[], float],
        idle: Callable[[int], bool] = lambda _id: True,
        grace: float = 1.0,
    ) -> None:
        """`what` names the objects in error messages; `clock` counts seconds."""
        self.what = what
        self.capacity = capacity
        self.grace = grace
        self._clock = clock
        self._idle = idle
        self._next = 0
        self._returned: list[int] = []
        self._retired: dict[K, tuple[int, float]] = {}

    def acquire(self, key: K) -> int:
        """An id for `key`: its retired one if there is one, else the lowest free id.

        Raises RESOURCE when all ids are in use or still referred to.
        """
        if key in self._retired:
            return self._retired.pop(key)[0]
        if self._next == self.capacity and not self._returned:
            self.reap()
        if self._returned:
            return heapq.heappop(self._returned)
        if self._next == self.capacity:
            waiting = f", {len(self._retired)} of them removed but still referred to by workers"
            raise ControlError(
                Code.RESOURCE,
                f"all {self.capacity} {self.what} are in use{waiting if self._retired else ''}",
            )
        self._next += 1
        return self._next - 1

    def release(self, key: K, number: int) -> None:
        """Retire the id; `reap` frees it when nothing refers to it any more."""
        self._retired[key] = (number, self._clock())

    def reap(self) -> None:
        """Free the retired ids whose grace has passed and which are idle."""
        newest = self._clock() - self.grace
        for key, (number, since) in list(self._retired.items()):
            if since <= newest and self._idle(number):
                del self._retired[key]
                heapq.heappush(self._returned, number)

    @property
    def retired(self) -> int:
        """How many ids wait for the last reference to go."""
        return len(self._retired)

    @property
    def free(self) -> int:
        """How many ids could be acquired right now without reaping."""
        return self.capacity - self._next + len(self._returned)
