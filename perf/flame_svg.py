"""A flame graph as one SVG file: no script, no font, nothing loaded from elsewhere."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape

from perf.flame_stacks import COMPILED, DPDK, INTERPRETER, KERNEL, LIBRARY, Named, Stack

WIDTH, ROW, MARGIN, HEAD = 1200.0, 18, 10, 74
LETTER = 6.6  # width of a letter of the frames' font, px
SMALLEST = 0.35  # px: narrower frames are left out

# Hue, saturation, lightness; frames of a kind differ a little in lightness.
COLOURS = {
    COMPILED: (208, 70, 72), DPDK: (28, 85, 68), INTERPRETER: (128, 38, 68),
    LIBRARY: (50, 75, 68), KERNEL: (0, 5, 74),
}  # fmt: skip


@dataclass
class Node:
    """A frame with what it calls; counts are samples."""

    frame: Named
    count: int = 0
    below: dict[Named, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Box:
    """A rectangle of the graph: ``depth`` rows above the bottom, ``left`` and ``width`` of 1."""

    frame: Named
    depth: int
    left: float
    width: float
    count: int


def tree(stacks: Counter[Stack]) -> Node:
    """The stacks merged from the outermost frame on."""
    root = Node(Named("", "all"))
    for stack, count in stacks.items():
        root.count += count
        node = root
        for frame in stack:
            node = node.below.setdefault(frame, Node(frame))
            node.count += count
    return root


def boxes(root: Node) -> Iterator[Box]:
    """Where every frame goes; the largest of neighbours is on the left."""

    def under(node: Node, depth: int, left: float) -> Iterator[Box]:
        for child in sorted(node.below.values(), key=lambda n: (-n.count, n.frame)):
            width = child.count / root.count
            if width * (WIDTH - 2 * MARGIN) >= SMALLEST:
                yield Box(child.frame, depth, left, width, child.count)
                yield from under(child, depth + 1, left)
            left += width

    if root.count:
        yield from under(root, 0, 0.0)


def colour(frame: Named) -> str:
    """Colour of a frame: its kind, shaded by its name."""
    hue, saturation, lightness = COLOURS.get(frame.kind, (0, 0, 85))
    shade = zlib.crc32(frame.name.encode()) % 13 - 6
    return f"hsl({hue},{saturation}%,{lightness + shade}%)"


def fitted(text: str, width: float) -> str:
    """As much of a name as a frame of ``width`` px has room for."""
    room = int((width - 6) / LETTER)
    if room >= len(text):
        return text
    short = text.split(" [")[0]
    if room >= len(short):
        return short
    short = short.rpartition(".")[2] if "." in short else short
    return short if room >= len(short) else f"{short[: room - 1]}…" if room > 4 else ""


def _legend(y: float) -> Iterator[str]:
    x = float(MARGIN)
    for kind in COLOURS:
        hue, saturation, lightness = COLOURS[kind]
        yield (
            f'<rect x="{x:.0f}" y="{y - 10:.0f}" width="12" height="12" '
            f'fill="hsl({hue},{saturation}%,{lightness}%)"/>'
            f'<text x="{x + 17:.0f}" y="{y:.0f}">{escape(kind, False)}</text>'
        )
        x += 34 + LETTER * len(kind)


def svg(stacks: Counter[Stack], title: str, notes: Iterable[str]) -> str:
    """The whole file; hovering over a frame shows its name, samples and share."""
    root = tree(stacks)
    placed = list(boxes(root))
    depth = max((box.depth for box in placed), default=0) + 1
    remarks = list(notes)
    head = HEAD + 15 * max(len(remarks) - 1, 0)
    height = head + depth * ROW + MARGIN
    inner = WIDTH - 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0f}" height="{height}" '
        f'viewBox="0 0 {WIDTH:.0f} {height}" font-family="DejaVu Sans Mono, monospace" '
        'font-size="11">',
        f"<title>{escape(title, False)}</title>",
        '<rect width="100%" height="100%" fill="#fdfdfb"/>',
        f'<text x="{MARGIN}" y="22" font-size="16" font-weight="bold">'
        f"{escape(title, False)}</text>",
    ]
    for number, line in enumerate(remarks):
        parts.append(f'<text x="{MARGIN}" y="{40 + 15 * number}">{escape(line, False)}</text>')
    parts += _legend(head - 14)
    for box in placed:
        x, width = MARGIN + box.left * inner, box.width * inner
        y = height - MARGIN - (box.depth + 1) * ROW
        text = fitted(box.frame.name, width)
        tip = f"{box.frame.name}: {100 * box.width:.2f} % ({box.count:,} samples)"
        parts.append(
            f'<g><title>{escape(tip, False)}</title><rect x="{x:.2f}" y="{y}" '
            f'width="{max(width - 0.3, 0.2):.2f}" height="{ROW - 1}" rx="1.5" '
            f'fill="{colour(box.frame)}"/>'
            + (f'<text x="{x + 3:.2f}" y="{y + 12}">{escape(text, False)}</text>' if text else "")
            + "</g>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
