"""Flame graphs: from what perf prints to the SVG file."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from perf import flame, flame_libs, flame_record, flame_stacks, flame_svg
from perf.errors import PerfError
from perf.flame_code import frame_label, parse_addr2line
from perf.flame_record import Frame
from perf.flame_stacks import COMPILED, DPDK, INTERPRETER, KERNEL, LIBRARY, OUTSIDE, Named
from runtime.perfmap import Mapping

SVG = "{http://www.w3.org/2000/svg}"
SCRIPT = """\
 1486/1486   6330.642575:
\t    7f7c0003d97d ipvs.poll.handle [ipvs/poll.py:53]+0x1f (/tmp/perf-1486.map)

 1486/1486   6330.643072:
\t            6a20 [unknown] (/usr/lib/dpdk/librte_net_pcap.so.23.0)
\t    7f7c0003d7d8 [unknown] (/tmp/perf-1486.map)

 1486/1486   6330.647574:
\t           144b0 __tls_get_addr+0x0 (/usr/lib/ld-linux-x86-64.so.2)
"""


class FakeCode:
    """Compiled code with known paths."""

    def __init__(self, paths: dict[int, tuple[str, ...]]) -> None:
        self.paths = paths
        self.learnt: set[int] = set()

    def find(self, address: int) -> tuple[str, int] | None:
        return ("f", 0) if address in self.paths else None

    def path(self, address: int) -> tuple[str, ...]:
        return self.paths.get(address, ())

    def learn(self, addresses: set[int]) -> None:
        self.learnt |= addresses


def test_samples_of_perf_script() -> None:
    first, second, third = flame_record.samples(SCRIPT.splitlines())
    name = "ipvs.poll.handle [ipvs/poll.py:53]"
    assert first == [Frame(0x7F7C0003D97D, name, "/tmp/perf-1486.map")]
    assert [frame.symbol for frame in second] == ["", ""]
    assert second[0].address == 0x6A20
    assert third[0].symbol == "__tls_get_addr"


@given(st.lists(st.text(max_size=60), max_size=20))
def test_any_text_of_perf_can_be_read(lines: list[str]) -> None:
    for stack in flame_record.samples(lines):
        assert stack


def test_stacks_have_every_compiled_frame_and_the_role_of_the_driver() -> None:
    loop = "ipvs.loop.run [ipvs/loop.py:1]"
    receive = "netdev.port.receive [netdev/port.py:46]"
    code = FakeCode({100: (loop, receive), 200: ("stack.neigh.set [x:1]",), 300: (loop,)})
    samples = [
        [Frame(50, "", "/x/librte_net_pcap.so.23"), Frame(101, "", "[JIT]"), Frame(7, "x", "y")],
        [Frame(50, "copy", "/x/libc.so.6"), Frame(201, "", "[JIT]")],
        [Frame(300, "", "[JIT]")],
        [Frame(9, "gc", "/x/libpython3.11.so"), Frame(9, "eval", "/x/libpython3.11.so"),
         Frame(9, "main", "/x/libpython3.11.so")],
        [Frame(9, "gc", "inlined"), Frame(9, "add", "/x/libpython3.11.so"),
         Frame(9, "eval", "/x/libpython3.11.so"), Frame(9, "main", "/x/libpython3.11.so")],
        [Frame(9, "lost", "inlined")],
    ]  # fmt: skip
    stacks = flame_stacks.collapse(samples, code, [])  # type: ignore[arg-type]
    assert code.learnt == {100, 200, 300}
    library = "libpython3.11.so"
    assert set(stacks) == {
        (Named(COMPILED, loop), Named(COMPILED, receive),
         Named(DPDK, "the driver's receive burst: librte_net_pcap")),
        (OUTSIDE, Named(COMPILED, "stack.neigh.set [x:1]"), Named(LIBRARY, "copy [libc.so.6]")),
        (Named(COMPILED, loop),),
        (OUTSIDE, Named(INTERPRETER, f"gc [{library}]")),
        (OUTSIDE, Named(INTERPRETER, f"add [{library}]")),
    }  # fmt: skip
    assert sum(stacks.values()) == 5


def test_absolute_addresses_in_stripped_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(flame_stacks, "place", lambda path, at: asked.append(at) or "lib")
    mappings = [Mapping(0x7000, 0x9000, 0x1000, "/x/librte_a.so")]
    sample = [Frame(0x7010, "", "/x/librte_a.so")]
    flame_stacks.translate(sample, FakeCode({}), mappings)  # type: ignore[arg-type]
    assert asked == [0x1010]


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("[kernel.kallsyms]", KERNEL),
        ("/usr/lib/dpdk/librte_net_tap.so.23", DPDK),
        ("/usr/lib/libpython3.11.so.1.0", INTERPRETER),
        ("/x/lib/python3.11/site-packages/llvmlite/binding/libllvmlite.so", INTERPRETER),
        ("/usr/lib/libc.so.6", LIBRARY),
    ],
)
def test_kinds(file: str, kind: str) -> None:
    assert flame_stacks.kind_of(file) == kind


FRAMES = st.builds(
    Named, st.sampled_from([COMPILED, DPDK, KERNEL, "?"]), st.text("ab<&.", max_size=9)
)
STACKS = st.dictionaries(
    st.lists(FRAMES, min_size=1, max_size=5).map(tuple), st.integers(1, 1000), max_size=20
).map(Counter)


@given(STACKS)
def test_boxes_stand_inside_of_what_calls_them(stacks: Counter[flame_stacks.Stack]) -> None:
    root = flame_svg.tree(stacks)
    assert root.count == sum(stacks.values())
    placed = list(flame_svg.boxes(root))
    for box in placed:
        assert -1e-9 <= box.left and box.left + box.width <= 1 + 1e-9
        same = [b for b in placed if b.depth == box.depth and b is not box]
        assert all(b.left >= box.left + box.width - 1e-9 or b.left + b.width <= box.left + 1e-9
                   for b in same)  # fmt: skip
        below = [b for b in placed if b.depth == box.depth - 1]
        assert not box.depth or any(
            b.left - 1e-9 <= box.left and box.left + box.width <= b.left + b.width + 1e-9
            for b in below
        )


@given(STACKS, st.text("x<>&\"'", max_size=10))
def test_file_is_well_formed(stacks: Counter[flame_stacks.Stack], title: str) -> None:
    root = ElementTree.fromstring(flame_svg.svg(stacks, title, [title]))
    assert (root.find(f"{SVG}title").text or "") == title  # type: ignore[union-attr]
    drawn = [group for group in root.findall(f"{SVG}g")]
    assert len(drawn) == len(list(flame_svg.boxes(flame_svg.tree(stacks))))
    shares = flame_stacks.shares(stacks)
    assert sum(own for _, own, _ in shares) == pytest.approx(1.0 if stacks else 0.0)


@given(st.text("abc.[ ]", max_size=40), st.floats(0, 500))
def test_names_fit(name: str, width: float) -> None:
    text = flame_svg.fitted(name, width)
    assert not text or len(text) * flame_svg.LETTER <= width


def test_addr2line() -> None:
    text = (
        "0x10\nf\n/x/ipvs/poll.py:3\ng\n??:?\n0x20\n??\n??:0\n0x30\nh\n/a.py:7 (discriminator 2)\n"
    )
    assert parse_addr2line(text) == {
        16: [("f", "/x/ipvs/poll.py", 3), ("g", "??", 0)], 32: [("??", "??", 0)],
        48: [("h", "/a.py", 7)],
    }  # fmt: skip
    poll = str(flame_svg.__file__).replace("perf/flame_svg.py", "ipvs/poll.py")
    assert str(frame_label("look_up", poll, 0)).startswith("ipvs.poll.look_up [ipvs/poll.py:")
    assert frame_label("no_such", poll, 0) is None
    assert frame_label("_ZNmangled", poll, 0) is None
    assert frame_label("f", "??", 0) is None


@given(st.binary(max_size=64))
def test_any_table_of_functions_can_be_read(data: bytes) -> None:
    flame_libs.starts_in(memoryview(data), 0)
    flame_libs.starts_in(memoryview(b"\x01\x1b\x03\x3b" + data), 0)


def test_functions_of_a_stripped_library() -> None:
    with open("/proc/self/maps") as maps:
        libc = next(line.split()[-1] for line in maps if "/libc.so" in line or "/libc-" in line)
    starts = flame_libs._library(libc)
    assert len(starts) > 100
    name = Path(libc).name.split(".so")[0]
    assert flame_libs.place(libc, starts[50] + 1) == f"{name}+{starts[50]:#x}"
    assert flame_libs.place("/no/such/library.so.1", 5) == "library"


def test_missing_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    result = CliRunner().invoke(flame.command, [])
    assert isinstance(result.exception, PerfError)
    assert str(result.exception) == (
        "there is no perf on this machine; install it with `apt-get install linux-perf`"
    )


def test_recording_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "perf"
    fake.write_text("#!/bin/sh\necho 'No permission to sample' >&2\nexit 255\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert flame_record.event() == flame_record.SOFTWARE
    with pytest.raises(PerfError, match="perf record failed: No permission to sample"):
        flame_record.record(1, 1.0, 99, "cpu-clock", tmp_path / "data")
    with pytest.raises(PerfError, match="no samples: No permission to sample"):
        flame_record.read(tmp_path / "data")


@pytest.mark.parametrize(
    "words", [["--seconds", "0"], ["--mode", "x"], ["--pid", "0"], ["--flows", "a"], ["more"]]
)
def test_bad_options(words: list[str]) -> None:
    assert CliRunner().invoke(flame.command, words).exit_code == 2
