"""The log of a process: format, levels, repeats, rotation, full disks, hanging outputs."""

import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime import log as logs
from runtime.log_format import name_of
from runtime.log_repeat import Repeats
from runtime.log_sink import Sink

LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d "
    r"(?P<level>[A-Z]+) \[3\] test\.log: (?P<text>.*)"
)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., logs.Log]]:
    """A function like `setup` whose log is removed again."""
    root = logging.getLogger()
    before = root.level
    made: list[logs.Log] = []

    def build(**options: object) -> logs.Log:
        options.setdefault("file", str(tmp_path / "dpvs.log"))
        made.append(logs.setup(3, **options))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for log in made:
        log.close()
    root.setLevel(before)


def record(text: object, *args: object, **more: object) -> logging.LogRecord:
    fields = {"name": "test.log", "levelno": logging.WARNING, "msg": text, "args": args, **more}
    return logging.makeLogRecord(fields)


def lines(path: Path) -> list[tuple[str, str]]:
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(found)
    return [(match["level"], match["text"]) for match in found if match]


def test_format_and_levels(make: Callable[..., logs.Log], tmp_path: Path) -> None:
    log = make(level="NOTICE")
    logger = logging.getLogger("test.log")
    logger.info("hidden")
    logger.log(logs.NOTICE, "port %s is up", "dpdk0")
    logger.warning("w")
    logger.error("e")
    logger.critical("c")
    logger.log(logs.ALERT, "a")
    logger.log(logs.EMERG, "m")
    log.flush(60)
    assert lines(tmp_path / "dpvs.log") == [
        ("NOTICE", "port dpdk0 is up"),
        ("WARNING", "w"),
        ("ERR", "e"),
        ("CRIT", "c"),
        ("ALERT", "a"),
        ("EMERG", "m"),
    ]


def test_level_names() -> None:
    assert [name_of(n) for n in (5, 10, 15, 20, 25, 99)] == [
        "DEBUG",
        "DEBUG",
        "DEBUG",
        "INFO",
        "NOTICE",
        "EMERG",
    ]
    assert logs.level_number("WARN") == logging.WARNING
    assert logs.level_name("Error") == "ERR"
    for word in ("", "IN", "LOUD"):
        with pytest.raises(ValueError, match="is not a log level"):
            logs.level_name(word)


def test_one_line_whatever_is_logged(tmp_path: Path) -> None:
    log = logs.Log(3, "INFO", str(tmp_path / "f"))
    log.handle(record("two\nlines\x1b[0m \udcff"))
    log.handle(record("%d apples", "many"))
    try:
        raise KeyError("k")
    except KeyError as error:
        log.handle(record("failed", exc_info=(KeyError, error, error.__traceback__)))
    log.close()
    first, second, third = [text for _, text in lines(tmp_path / "f")]
    assert first == "two\\nlines\\x1b[0m \\udcff"
    assert second.startswith("%d apples (its arguments do not fit")
    assert re.fullmatch(r"failed: KeyError: 'k' \(at .*test_log\.py:\d+\)", third)


def test_an_object_that_cannot_be_shown() -> None:
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError

    log = logs.Log(3)
    log.handle(record(Bad()))
    log.close()
    assert log.counters()["log_failed"] == 1


def test_repeats_are_dropped_and_counted(tmp_path: Path) -> None:
    now = [100.0]
    log = logs.Log(3, "INFO", str(tmp_path / "f"), clock=lambda: now[0])
    for _ in range(4):
        log.handle(record("full"))
    now[0] += 5.0
    log.handle(record("full"))
    log.handle(record("full"))
    now[0] += 9.0
    log.handle(record("other"))
    log.close()
    assert [text for _, text in lines(tmp_path / "f")] == [
        "full",
        "full (3 identical lines not shown)",
        "full (1 identical line not shown)",
        "other",
    ]
    assert log.counters()["log_suppressed"] == 4


def test_repeats_forget() -> None:
    repeats: Repeats[int] = Repeats(5.0)
    for key in range(5000):
        assert repeats.admit(key, 0.0) == 0
    assert repeats.admit(4999, 4.0) is None
    assert repeats.admit(0, 4.0) == 0, "only the latest are remembered"
    assert repeats.expired(5.0) == [(4999, 1)]
    assert repeats.admit(4999, 1.0) == 0, "a clock that goes back suppresses nothing"


def test_rotation_with_and_without_reopen(
    make: Callable[..., logs.Log], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "dpvs.log"
    log = make()
    logger = logging.getLogger("test.log")
    logger.info("one")
    log.flush(60)
    path.rename(tmp_path / "dpvs.log.1")
    log.reopen()
    logger.info("two")
    log.flush(60)
    assert [text for _, text in lines(path)] == ["two"]
    monkeypatch.setattr("runtime.log_sink.CHECK_SECONDS", 0.0)
    path.unlink()
    for text in ("three", "four"):  # the first may still follow a check made before
        logger.info(text)
        log.flush(60)
    assert lines(path)[-1] == ("INFO", "four")
    assert [text for _, text in lines(tmp_path / "dpvs.log.1")] == ["one"]


def test_reload_changes_level_and_file(make: Callable[..., logs.Log], tmp_path: Path) -> None:
    log = make(level="ERR")
    logger = logging.getLogger("test.log")
    logger.info("hidden")
    log.configure("DEBUG", str(tmp_path / "other"))
    logger.debug("shown")
    log.flush(60)
    assert lines(tmp_path / "other") == [("DEBUG", "shown")]
    with pytest.raises(ValueError, match="not a log level"):
        log.configure("x", None)


def test_unusable_file_falls_back_to_stderr(
    make: Callable[..., logs.Log], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = make(file=str(tmp_path / "no" / "dpvs.log"))
    logging.getLogger("test.log").info("still here")
    log.flush(60)
    text = capfd.readouterr().err
    assert f"cannot open log file {tmp_path}/no/dpvs.log: No such file or directory" in text
    assert "INFO [3] test.log: still here" in text
    (tmp_path / "no").mkdir()
    log.reopen()
    logging.getLogger("test.log").info("in the file")
    log.flush(60)
    assert lines(tmp_path / "no" / "dpvs.log") == [("INFO", "in the file")]


def test_full_disk(make: Callable[..., logs.Log], capfd: pytest.CaptureFixture[str]) -> None:
    log = make(file="/dev/full")
    logging.getLogger("test.log").error("cannot write this")
    log.flush(60)
    assert "cannot write this" in capfd.readouterr().err
    assert log.counters()["log_failed"] == 0


def test_hanging_output_never_blocks_the_caller(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it to write waits for a reader that never comes
    sink = Sink(str(pipe), 10)
    started = time.monotonic()
    for i in range(50):
        sink.put(f"{i}\n")
    assert not sink.flush(0.05)
    assert time.monotonic() - started < 60
    assert sink.dropped >= 30
    with pipe.open("rb") as reader:
        assert sink.flush(60)
        sink.close()
        assert reader.read().startswith(b"0\n")


def test_many_threads_write_whole_lines(make: Callable[..., logs.Log], tmp_path: Path) -> None:
    log = make()
    logger = logging.getLogger("test.log")

    def write(n: int) -> None:
        for i in range(200):
            logger.info("%d-%d", n, i)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.flush(60)
    assert len({text for _, text in lines(tmp_path / "dpvs.log")}) == 800


def test_setup_replaces_the_earlier_log(make: Callable[..., logs.Log], tmp_path: Path) -> None:
    make()
    log = make(file=str(tmp_path / "second"))
    logging.getLogger("test.log").info("once")
    log.flush(60)
    assert [h for h in logging.getLogger().handlers if isinstance(h, logs.Log)] == [log]
    assert len(lines(tmp_path / "second")) == 1
    assert (tmp_path / "dpvs.log").exists() is False


def test_lines_are_written_when_the_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    code = (
        "import logging, sys; from runtime.log import setup;"
        "setup(3, 'INFO', sys.argv[1], cpus={0});"
        "[logging.getLogger('test.log').info('%d', i) for i in range(500)]"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=Path.cwd(), timeout=100)
    assert len(lines(path)) == 500
