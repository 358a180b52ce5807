"""Levels of the daemon's log and the text of one line."""

import logging
import traceback
from datetime import datetime

NOTICE = 25
ALERT = 60
EMERG = 70

_NUMBERS = {
    "EMERG": EMERG,
    "ALERT": ALERT,
    "CRIT": logging.CRITICAL,
    "ERR": logging.ERROR,
    "WARNING": logging.WARNING,
    "NOTICE": NOTICE,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
}
LEVELS = tuple(_NUMBERS)
_NAMES = sorted(((number, name) for name, number in _NUMBERS.items()), reverse=True)
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | {10: "\\n", 9: "\\t", 13: "\\r"}


def level_name(text: str) -> str:
    """Return the level a word means: a name, its start ("WARN") or a longer form ("ERROR").

    Raises ValueError for anything else.
    """
    word = text.upper()
    for name in LEVELS:
        if word.startswith(name) or (len(word) >= 3 and name.startswith(word)):
            return name
    raise ValueError(f"'{text}' is not a log level ({', '.join(LEVELS)})")


def level_number(text: str) -> int:
    """Return the number `logging` uses for a level name; raises ValueError."""
    return _NUMBERS[level_name(text)]


def name_of(number: int) -> str:
    """Return the most severe level name that is not above number."""
    return next((name for limit, name in _NAMES if number >= limit), "DEBUG")


def body(record: logging.LogRecord) -> str:
    """Text of a record on one line, with an exception as its type, text and place.

    Control characters are escaped: what a peer sent cannot forge a second line.
    """
    try:
        text = record.getMessage()
    except Exception as error:  # wrong arguments of a log call must not stop the caller
        text = f"{record.msg!s} (its arguments do not fit: {error})"
    if record.exc_info and record.exc_info[1] is not None:
        text += f": {_exception(record.exc_info[1])}"
    return text.translate(_ESCAPES)


def _exception(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} (at {frames[-1].filename}:{frames[-1].lineno})" if frames else text


def line(seconds: float, level: int, cid: int, module: str, text: str) -> str:
    """Compose `time level [cid] module: message`; seconds since the epoch, local time shown."""
    stamp = datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")
    return f"{stamp} {name_of(level)} [{cid}] {module}: {text}\n"
