"""Compile packet-path functions with numba, cached on disk under a key of the whole source tree.

``@compiled`` is the only way a function enters the packet path.  It means: native code, no
interpreter lock, no exceptions, no allocation (a test walks ``COMPILED`` and checks the rules of
runtime/rules.py).  With ``NUMBA_DISABLE_JIT=1`` the same functions run as plain Python.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

PACKAGES = ("runtime", "netdev", "stack", "ipvs")
# Control-plane files: nothing compiled comes from them, so their edits keep the cache warm.
NOT_COMPILED = (
    *("config", "log", "messages", "shm", "supervise", "eal", "ethdev", "portspec"),
    *("steering", "verify", "apply", "worker", "perfmap", "flatten", "user_source", "user_code"),
)
ROOT = Path(__file__).resolve().parent.parent


def source_key() -> str:
    """Hash of every source file that compiled code can come from, and of where it lies.

    numba looks only at the file of the outermost function when it decides whether a cached
    machine code is fresh; a change in an inlined callee of another file would go unseen.  A cache
    folder named after all sources closes that hole.  numba itself keys by path and time stamp, so
    both are in the name too: a folder marked complete then really serves this very checkout.
    """
    digest = hashlib.sha256(str(ROOT).encode())
    for package in PACKAGES:
        for path in sorted((ROOT / package).glob("**/*.py")):
            if path.name.startswith(NOT_COMPILED):
                continue
            digest.update(str(path.relative_to(ROOT)).encode())
            digest.update(str(path.stat().st_mtime_ns).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_root() -> Path:
    """Folder of all compile caches: $DPVS_CACHE_DIR, /var/cache/dpvs for root, else XDG."""
    chosen = os.environ.get("DPVS_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/cache/dpvs")
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dpvs"


# The same code with line tables, for profilers: a cache of its own.
LINES = os.environ.get("DPVS_PERF_LINES", "0") not in ("", "0")
CACHE_DIR = cache_root() / (source_key() + ("-lines" if LINES else ""))
os.environ["NUMBA_CACHE_DIR"] = str(CACHE_DIR)

import numba  # noqa: E402  (the cache folder must be known before numba reads its settings)

numba.config.CACHE_DIR = str(CACHE_DIR)  # type: ignore[attr-defined]
JIT = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]
OPTIONS: dict[str, bool] = {}
if JIT and LINES:
    from runtime import perfmap_lines

    OPTIONS = perfmap_lines.enable()

# Written when everything was compiled: from then on a process loads only what it calls.
COMPLETE = CACHE_DIR / "complete"
LAZY = COMPLETE.exists()

CLAIM_PATIENCE = 20.0  # seconds; whoever dies in a claim delays others no longer than this
F = TypeVar("F", bound=Callable[..., Any])
COMPILED: list[Callable[..., Any]] = []
# Set where several processes fill the cache: each function is compiled by the first that comes.
CLAIMS: Path | None = None
# Called with the name of each function as it becomes ready: the daemon shows it on a cold start.
PROGRESS: Callable[[str], None] | None = None


def _compile(function: F, inline: bool) -> F:
    COMPILED.append(function)
    if not JIT:
        return function
    claim = _claim(function)
    signature = (numba.int64,) * function.__code__.co_argcount
    njit: Any = numba.njit  # its type hints lack no_cfunc_wrapper
    jitted: F = njit(
        *(() if LAZY else (signature,)),
        cache=True,
        nogil=True,
        error_model="numpy",
        boundscheck=False,
        no_cfunc_wrapper=True,
        forceinline=inline,
        **OPTIONS,
    )(function)
    if claim is not None:
        claim.write_text("done")
    if PROGRESS is not None:
        PROGRESS(function.__name__)
    return jitted


def _claim(function: Callable[..., Any]) -> Path | None:
    """Claim a function for this process; waits while another compiles it (it is loaded then)."""
    if CLAIMS is None:
        return None
    path = CLAIMS / f"{function.__module__}.{function.__qualname__}"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        return path
    except FileExistsError:
        end = time.monotonic() + CLAIM_PATIENCE
        while not path.stat().st_size and time.monotonic() < end:
            time.sleep(0.002)
        return None


def compiled(function: F) -> F:
    """Mark ``function`` as part of the packet path and compile it (or load it from the cache).

    All parameters are int64 (see runtime/pointers.py); division follows C (no exception).  Giving
    the signature here compiles every function exactly once, whatever literals callers pass.
    """
    return _compile(function, False)


def inlined(function: F) -> F:
    """Like ``compiled``, for the small functions every packet passes: always part of the caller.

    A call between compiled functions passes its result through memory and checks a status, which
    costs more than such a function does.
    """
    return _compile(function, True)


def mark_complete() -> None:
    """Note that every function of the path is in the cache (after importing all of it)."""
    if JIT and not LAZY and CACHE_DIR.is_dir():
        COMPLETE.touch()


def prune_cache(keep: int = 4) -> None:
    """Remove all but the ``keep`` newest cache folders (each belongs to one source version)."""
    root = cache_root()
    if not root.is_dir():
        return
    folders = sorted(
        (p for p in root.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime, reverse=True
    )
    for folder in folders[keep:]:
        for path in sorted(folder.rglob("*"), reverse=True):
            try:
                path.rmdir() if path.is_dir() else path.unlink()
            except OSError:
                continue
        try:
            folder.rmdir()
        except OSError:
            continue
