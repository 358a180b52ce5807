"""One daemon per instance name: the lock, and the removal of what a killed daemon left behind."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import posix_ipc

from runtime.shm_owner import Owner, check_instance
from runtime.shm_segment import SHM_DIR, owner_of

RUN_ROOT = Path("/run/dpvs")


class InstanceBusy(Exception):
    """A live daemon holds the instance; ``pid`` is its process (0 when it could not be read)."""

    def __init__(self, name: str, pid: int) -> None:
        self.name, self.pid = name, pid
        super().__init__(f"instance {name} is already running (pid {pid or 'unknown'})")


class InstanceError(Exception):
    """The lock file of an instance cannot be used; the text says why."""


@dataclass
class InstanceClaim:
    """The held instance; released by ``release``, at the end of a with block, or by death."""

    name: str
    path: Path
    _fd: int = -1

    def release(self, remove: bool = False) -> None:
        """Give the instance back.  Idempotent.

        With ``remove`` the lock file goes too, and its folder when nothing else is in it.  That is
        safe while the lock is held: who opened the file before finds that it is not the one at the
        path any more, and takes the new one.
        """
        if self._fd >= 0:
            if remove and _stands(self._fd, self.path):
                self.path.unlink()
                with suppress(OSError):  # what else is there stays
                    self.path.parent.rmdir()
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> InstanceClaim:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _lock_path(name: str, run_root: Path) -> Path:
    return run_root / check_instance(name) / "lock"


def _stands(fd: int, path: Path) -> bool:
    """Whether the open file is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _try_lock(path: Path, create: bool = True) -> int | None:
    """Locked descriptor of ``path``; None when another descriptor holds the lock.

    Raises FileNotFoundError when there is no such file, or with ``create`` no such folder.
    """
    # Not inheritable: a lock that leaked into a child would outlive the daemon.
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    while True:
        fd = os.open(path, flags, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError:
            os.close(fd)
            raise
        if _stands(fd, path):
            return fd
        os.close(fd)  # its holder removed it between our open and its release


def _make_and_lock(path: Path) -> int | None:
    """As _try_lock, also while a holder that ends removes the folder."""
    while True:
        try:
            path.parent.mkdir(mode=0o755, parents=True)
        except FileExistsError:
            with suppress(FileNotFoundError):
                if not stat.S_ISDIR(path.parent.stat().st_mode):
                    raise
        with suppress(FileNotFoundError):
            return _try_lock(path)


def _holder(path: Path) -> int:
    """Pid recorded by the living holder of the lock at ``path``, 0 when there is none to see."""
    # The holder may be between taking the lock and writing its pid.
    for _ in range(20):
        try:
            words = path.read_text().split()
        except (OSError, UnicodeDecodeError):
            return 0
        if len(words) == 2 and all(word.isdecimal() for word in words):
            owner = Owner(int(words[0]), int(words[1]))
            if owner.alive():
                return owner.pid
        time.sleep(0.01)
    return 0


def claim_instance(name: str, run_root: Path = RUN_ROOT, attempts: int = 3) -> InstanceClaim:
    """Take the instance ``name`` for this process (flock on ``<run_root>/<name>/lock``).

    Raises InstanceBusy with the pid of the daemon that holds it, InstanceError when the lock file
    cannot be made, ValueError for a bad name.  The kernel drops the lock when the holder dies.
    """
    path = _lock_path(name, run_root)
    try:
        while (fd := _make_and_lock(path)) is None:
            pid = _holder(path)
            attempts -= 1
            # Nobody to see behind the lock: a status command may just be probing it.
            if pid or not attempts:
                raise InstanceBusy(name, pid)
    except OSError as problem:
        raise InstanceError(f"cannot use lock file {path}: {problem.strerror}") from None
    me = Owner.me()
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{me.pid} {me.start}\n".encode(), 0)
    return InstanceClaim(name, path, fd)


def instance_holder(name: str, run_root: Path = RUN_ROOT) -> int | None:
    """Pid of the live daemon that holds ``name`` (0 unknown), None when nobody does."""
    path = _lock_path(name, run_root)
    try:
        fd = _try_lock(path, create=False)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise InstanceError(f"cannot use lock file {path}: {problem.strerror}") from None
    if fd is None:
        return _holder(path)
    os.close(fd)
    return None


@dataclass(frozen=True)
class Recovery:
    """What ``recover_stale`` did: names removed, and (name, pid) left to a living owner."""

    removed: tuple[str, ...]
    kept: tuple[tuple[str, int], ...]


def recover_stale(name: str, run_root: Path = RUN_ROOT) -> Recovery:
    """Remove the shared-memory objects that a dead daemon of instance ``name`` left behind.

    Call it holding the claim.  Objects whose owner lives are kept.  Raises InstanceBusy when
    another process holds the instance.
    """
    holder = instance_holder(name, run_root)
    if holder is not None and holder != os.getpid():
        raise InstanceBusy(name, holder)
    removed, kept = [], []
    for path in sorted(SHM_DIR.glob(f"dpvs_{name}_*")):
        owner = owner_of(path.name)
        if owner is not None and owner.alive():
            kept.append((path.name, owner.pid))
            continue
        try:
            posix_ipc.unlink_shared_memory("/" + path.name)
        except (posix_ipc.Error, OSError):
            continue
        removed.append(path.name)
    return Recovery(tuple(removed), tuple(kept))
