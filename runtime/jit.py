"""Functions of the packet path, and where their machine code is kept.

``@compiled`` is the only way a function enters the packet path.  It means: native code, no
interpreter lock, no exceptions, no allocation (a test walks ``COMPILED`` and checks the rules of
runtime/rules.py).  With ``NUMBA_DISABLE_JIT=1`` the same functions run as plain Python.

Nothing is compiled when a module is imported: ``tools.daemon.precompile`` makes one program of all
functions (runtime/program.py), and a function outside of it is compiled at its first call.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

PACKAGES = ("runtime", "netdev", "stack", "ipvs")
# Control-plane files: nothing compiled comes from them, so their edits keep the cache warm.
NOT_COMPILED = (
    *("config", "log", "messages", "shm", "supervise", "eal", "ethdev", "portspec"),
    *("steering", "verify", "apply", "worker", "perfmap", "flatten", "user_source", "user_code"),
)
ROOT = Path(__file__).resolve().parent.parent


# The same code with line tables, for profilers: a cache of its own.
LINES = os.environ.get("DPVS_PERF_LINES", "0") not in ("", "0")


def compiler_key() -> str:
    """What the machine code depends on besides its source: this processor and the compiler."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    cpu = [line for line in lines if line.startswith(("model", "cpu family", "flags", "Features"))]
    versions = [version(name) for name in ("numba", "llvmlite")]
    return "\n".join([platform.machine(), *dict.fromkeys(cpu), *versions])


def source_key() -> str:
    """Hash of every source file that compiled code can come from and of what compiles it.

    Line tables name the source files, so there it counts as well where they lie.
    """
    digest = hashlib.sha256(f"{ROOT if LINES else ''}\n{compiler_key()}".encode())
    for package in PACKAGES:
        for path in sorted((ROOT / package).glob("**/*.py")):
            if path.name.startswith(NOT_COMPILED):
                continue
            digest.update(str(path.relative_to(ROOT)).encode())
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


JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
CACHE_DIR = cache_root() / (source_key() + ("-lines" if LINES else ""))
PROGRAM = CACHE_DIR / "program"  # machine code of the whole path

F = TypeVar("F", bound=Callable[..., Any])
COMPILED: list[Callable[..., Any]] = []
_ENTRIES: list[Any] = []  # must outlive their callers


class CompileError(Exception):
    """A function that cannot become machine code; the text names it and says why."""


class Function:
    """A function of the packet path: int64 arguments, an int64 result, machine code when called.

    ``symbol`` is its name in the machine code, ``py_func`` what it was made from.
    """

    def __init__(self, python: Callable[..., Any], inline: bool) -> None:
        functools.update_wrapper(self, python)
        self.py_func = python
        self.inline = inline
        self.count = python.__code__.co_argcount
        self.symbol = f"{python.__module__}.{python.__qualname__}"
        # The key of the cache covers these packages only, and tests define many of one name.
        self.kept = python.__module__.startswith(tuple(f"{package}." for package in PACKAGES))
        if not self.kept:
            self.symbol += f"#{len(COMPILED)}"
        self._entry: Callable[..., int] | None = None

    def __call__(self, *arguments: int) -> int:
        if self._entry is None:
            prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * self.count)
            self._entry = prototype(self.address)
        if len(arguments) != self.count:
            raise TypeError(f"{self.symbol}() takes {self.count} arguments, not {len(arguments)}")
        return self._entry(*arguments)

    @cached_property
    def address(self) -> int:
        """Where the machine code is, for callers in C: ``int64 f(int64, ...)``."""
        from runtime import program

        return program.address_of(self)

    def __repr__(self) -> str:
        return f"<compiled {self.symbol}>"


def _enter(function: F, inline: bool) -> F:
    made: Any = Function(function, inline) if JIT else function
    COMPILED.append(made)
    result: F = made
    return result


def compiled(function: F) -> F:
    """Mark ``function`` as part of the packet path.

    All parameters and the result are int64 (see runtime/pointers.py); division follows C (no
    exception).
    """
    return _enter(function, False)


def inlined(function: F) -> F:
    """Like ``compiled``, for the small functions every packet passes: always part of the caller."""
    return _enter(function, True)


def c_address(function: Callable[..., Any]) -> int:
    """Address of a function of the path as C calls it, in both modes; valid until the end."""
    if isinstance(function, Function):
        return function.address
    count = function.__code__.co_argcount
    entry = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * count)(function)
    _ENTRIES.append(entry)
    return ctypes.cast(entry, ctypes.c_void_p).value or 0


def prune_cache(keep: int = 16) -> None:
    """Remove all but ``keep`` cache folders, 4 MB and a source version each.

    Those that were used last stay: a daemon may run for long, and what starts in place of a worker
    that died must find machine code, or it compiles for longer than a worker may take.
    """
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
