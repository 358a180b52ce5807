"""What compiled functions an address belongs to: inlined ones too, and who calls them.

Compiled code has no frame pointers and perf cannot unwind it, so the callers of a compiled
function are taken from the calls in its machine code (relocations name their targets): the
shortest way from the worker's loop.  Inside one function, line tables tell the inlined ones.
"""

from __future__ import annotations

import bisect
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from perf.errors import PerfError
from runtime import perfmap
from runtime.perfmap_elf import FUNCTION, RELA, RELOCATION, SYMBOL, Elf
from runtime.perfmap_names import at_line, functions_of, label, readable

ROOT_FUNCTION = ["ipvs", "loop", "run"]

Frames = tuple[str, ...]  # outermost first


def parse_addr2line(text: str) -> dict[int, list[tuple[str, str, int]]]:
    """Address -> (function, file, line or 0), innermost first, of ``addr2line -a -i -f``."""
    found: dict[int, list[tuple[str, str, int]]] = {}
    rows: list[tuple[str, str, int]] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("0x"):
            rows = found.setdefault(int(line, 16), [])
            continue
        path, _, number = next(lines, "??:0").partition(" ")[0].rpartition(":")
        rows.append((line, path, int(number) if number.isdigit() else 0))
    return found


def frame_label(function: str, path: str, line: int) -> str | None:
    """Name of one inlined frame, or None when nothing is known of it."""
    if path.startswith("?"):
        return None
    file = Path(path)
    if line:
        name = at_line(file, line)
        if name is not None:
            return name
    if function.startswith("_Z"):
        return None
    places = [place for place in functions_of(file) if place.name.split(".")[-1] == function]
    return label(file, places[0].name, places[0].line) if places else None


class Code:
    """The compiled code of a process as it is now.  Raises PerfError."""

    def __init__(self, pid: int) -> None:
        try:
            self.images = list(perfmap.images(pid))
        except perfmap.PerfMapError as error:
            raise PerfError(str(error)) from error
        self.functions = sorted(
            (f.start, f.start + f.size, f.symbol, number)
            for number, image in enumerate(self.images)
            for f in perfmap.functions_in(image)
        )
        self._starts = [row[0] for row in self.functions]
        self._inlined: dict[int, Frames] = {}
        self._above = self._callers()

    @property
    def has_lines(self) -> bool:
        """Whether the code carries line tables."""
        return any(image.section(".debug_line") is not None for image in self.images)

    def find(self, address: int) -> tuple[str, int] | None:
        """(symbol, number of the image) of the function around an address."""
        at = bisect.bisect_right(self._starts, address) - 1
        if at < 0 or address >= self.functions[at][1]:
            return None
        return self.functions[at][2], self.functions[at][3]

    # -- who calls whom

    def _calls(self, image: Elf) -> Iterable[tuple[str, int]]:
        """(callee, address of the call) for every reference to a function in an image."""
        for table in image.sections[image.sections["type"] == RELA]:
            home = int(image.sections[int(table["info"])]["addr"])
            symbols = image.sections[int(table["link"])]
            kinds = np.frombuffer(image.content(symbols), SYMBOL)["info"] & 15
            for row in np.frombuffer(image.content(table), RELOCATION):
                if home and kinds[row["symbol"]] == FUNCTION:
                    yield image.symbol(symbols, int(row["symbol"])).name, home + int(row["offset"])

    def _callers(self) -> dict[str, tuple[str, int]]:
        """Function -> (its caller, address of the call) on the shortest way from the loop."""
        below: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for image in self.images:
            for callee, address in self._calls(image):
                caller = self.find(address)
                if caller is not None:
                    below[caller[0]].append((callee, address))
        prefix = "_ZN" + "".join(f"{len(part)}{part}" for part in ROOT_FUNCTION) + "B"
        front = sorted({row[2] for row in self.functions if row[2].startswith(prefix)})
        above: dict[str, tuple[str, int]] = {name: ("", 0) for name in front}
        while front:
            reached = []
            for name in front:
                for callee, address in below[name]:
                    if callee not in above:
                        above[callee] = name, address
                        reached.append(callee)
            front = reached
        return {name: caller for name, caller in above.items() if caller[0]}

    # -- what is inlined where

    def learn(self, addresses: Iterable[int]) -> None:
        """Find out the inlined functions at ``addresses`` and at the calls on the way to them."""
        wanted = set(addresses) | {address for _, address in self._above.values()}
        by_image: dict[int, list[int]] = defaultdict(list)
        for address in wanted - self._inlined.keys():
            found = self.find(address)
            if found is not None:
                by_image[found[1]].append(address)
        if not self.has_lines or not shutil.which("addr2line"):
            return
        for number, chosen in by_image.items():
            with tempfile.NamedTemporaryFile(suffix=".o") as file:
                file.write(self.images[number].data)
                file.flush()
                done = subprocess.run(
                    ["addr2line", "-a", "-i", "-f", "-e", file.name],
                    input="".join(f"{address:#x}\n" for address in chosen),
                    capture_output=True, text=True, check=False,
                )  # fmt: skip
            for address, rows in parse_addr2line(done.stdout).items():
                names = [frame_label(*row) for row in reversed(rows)]
                self._inlined[address] = tuple(name for name in names if name)

    def inside(self, address: int) -> Frames:
        """The function around ``address`` and what is inlined there, outermost first."""
        found = self.find(address)
        if found is None:
            return ()
        own = readable(found[0])
        frames = self._inlined.get(address, ())
        return frames if frames and frames[0] == own else (own, *frames)

    def path(self, address: int) -> Frames:
        """All frames from the worker's loop down to ``address``; () when it is not compiled."""
        found = self.find(address)
        if found is None:
            return ()
        frames = self.inside(address)
        name = found[0]
        while name in self._above:
            name, call = self._above[name]
            frames = self.inside(call) + frames
        return frames
