"""Files of a configuration: glob expansion of `include`, safe reading, cycle detection."""

import glob
import os
import stat
from collections.abc import Sequence

MAX_BYTES = 16 << 20


class IncludeError(Exception):
    """A file that cannot be included; the text says which and why."""


def matches(pattern: str, anchor: str) -> list[str]:
    """Expand pattern to sorted paths; a relative one starts in the folder of `anchor`.

    Raises IncludeError when nothing matches, also for a pattern: a typing mistake must not
    silently leave out half of a configuration. (A folder that may be empty: keep one file with a
    comment in it.)
    """
    path = os.path.join(os.path.dirname(anchor), pattern)
    if os.path.lexists(path):
        return [path]
    found = sorted(glob.glob(path)) if glob.has_magic(path) else []
    if not found:
        raise IncludeError(f"cannot read '{path}': no such file")
    return found


def read_text(path: str, active: Sequence[str], *, regular: bool) -> tuple[str, str]:
    """Read a file that is not one of `active` (real paths); returns its text and real path.

    Bytes that are not UTF-8 are kept as surrogates: they are harmless in comments and refused
    elsewhere. With `regular` anything but a regular file is refused, so that reading cannot hang.
    """
    real = os.path.realpath(path)
    if real in active:
        chain = " -> ".join(os.path.basename(name) for name in (*active, real))
        raise IncludeError(f"'{path}' includes itself ({chain})")
    flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if regular else 0)
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as handle:
            if regular and not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
                raise IncludeError(f"cannot read '{path}': not a regular file")
            data = handle.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise IncludeError(f"cannot read '{path}': {reason}") from error
    if len(data or b"") > MAX_BYTES:
        raise IncludeError(f"cannot read '{path}': larger than {MAX_BYTES >> 20} MiB")
    return (data or b"").decode("utf-8", "surrogateescape"), real
