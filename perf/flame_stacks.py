"""From samples to whole stacks, named frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from perf.flame_code import Code
from perf.flame_libs import place
from perf.flame_record import Frame
from runtime.perfmap import Mapping

COMPILED, DPDK, INTERPRETER, LIBRARY, KERNEL = (
    "compiled Python", "DPDK", "interpreter", "C library", "kernel",
)  # fmt: skip
# The places where the packet path calls a driver: what it calls there has a known role.
ROLES = {
    "netdev.port.receive ": "the driver's receive burst",
    "netdev.port.flush ": "the driver's transmit burst",
}


class Named(NamedTuple):
    """One frame of a flame graph."""

    kind: str
    name: str


Stack = tuple[Named, ...]  # outermost first
LOOP = "ipvs.loop.run "
OUTSIDE = Named(INTERPRETER, "the interpreter")  # stands for how it was started


def kind_of(file: str) -> str:
    """What kind of code lies in a file that perf names."""
    name = Path(file).name
    if file.startswith("["):
        return KERNEL
    if name.startswith("librte_"):
        return DPDK
    if name.startswith(("libpython", "python")) or "site-packages" in file or ".cpython-" in name:
        return INTERPRETER
    return LIBRARY


def _native(frame: Frame, mappings: Sequence[Mapping]) -> Named:
    if frame.symbol:
        return Named(kind_of(frame.file), f"{frame.symbol} [{Path(frame.file).name}]")
    address = frame.address
    for mapping in mappings:
        if mapping.start <= address < mapping.end:
            address -= mapping.start - mapping.offset
    return Named(kind_of(frame.file), place(frame.file, address))


def translate(sample: list[Frame], code: Code, mappings: Sequence[Mapping]) -> Stack:
    """A sample (innermost first) as a stack with every compiled function in it.

    perf unwinds C functions down to the first compiled one; from there the code knows the way.
    """
    native: list[Named] = []
    for depth, frame in enumerate(sample):
        # A return address is the instruction after the call.
        compiled = code.path(frame.address - (1 if depth else 0))
        if compiled:
            called = list(reversed(native))
            for prefix, role in ROLES.items():
                if called and compiled[-1].startswith(prefix):
                    first = called[0]
                    called[0] = Named(first.kind, f"{role}: {first.name}")
            above = () if compiled[0].startswith(LOOP) else (OUTSIDE,)
            return (*above, *(Named(COMPILED, name) for name in compiled), *called)
        if frame.file == "inlined":  # perf's guess from symbols, without a file
            continue
        native.append(_native(frame, mappings))
    if native and native[-1].kind == INTERPRETER:
        return (OUTSIDE, *reversed(native))
    return tuple(reversed(native))


def addresses(samples: list[list[Frame]], code: Code) -> set[int]:
    """Addresses in compiled code that ``translate`` will ask for."""
    wanted = set()
    for sample in samples:
        for depth, frame in enumerate(sample):
            address = frame.address - (1 if depth else 0)
            if code.find(address) is not None:
                wanted.add(address)
                break
    return wanted


def shortened(stacks: Counter[Stack]) -> Counter[Stack]:
    """Without the frames that every stack of the interpreter begins with: they tell nothing."""
    inside = [stack[1:] for stack in stacks if stack[0] == OUTSIDE and stack[1].kind != COMPILED]
    common = 0
    if inside:
        low, high = min(inside), max(inside)
        shortest = min(len(low), len(high)) - 1
        while common < shortest and low[common] == high[common]:
            common += 1
    result: Counter[Stack] = Counter()
    for stack, count in stacks.items():
        cut = stack[0] == OUTSIDE and stack[1].kind != COMPILED
        result[(OUTSIDE, *stack[1 + common :]) if cut else stack] += count
    return result


def collapse(samples: list[list[Frame]], code: Code, mappings: Sequence[Mapping]) -> Counter[Stack]:
    """How often each stack was seen."""
    code.learn(addresses(samples, code))
    stacks = (translate(sample, code, mappings) for sample in samples)
    return shortened(Counter(stack for stack in stacks if stack))


def shares(stacks: Counter[Stack]) -> list[tuple[Named, float, float]]:
    """(frame, share itself, share with what it calls) of all time, largest first."""
    total = sum(stacks.values()) or 1
    own: Counter[Named] = Counter()
    whole: Counter[Named] = Counter()
    for stack, count in stacks.items():
        own[stack[-1]] += count
        whole.update({frame: count for frame in set(stack)})
    return [(frame, own[frame] / total, count / total) for frame, count in whole.most_common()]
