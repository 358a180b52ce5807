"""Named shared memory whose header tells which process owns it.

A segment is a POSIX shared-memory object ``dpvs_<instance>_<purpose>``: one header, then the
payload, 128-byte aligned.  The creator owns it and removes it at a clean stop; a killed creator
leaves it behind, and the owner in the header tells that it is stale.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from dataclasses import dataclass, field
from pathlib import Path

import posix_ipc

from runtime.shm_owner import Owner, object_name

SHM_DIR = Path("/dev/shm")
MAGIC = int.from_bytes(b"DPVSSEG\0", "little")
VERSION = 1


class SegmentHeader(ctypes.Structure):
    """First 128 bytes of a segment; ``magic`` is written last, when the rest is valid."""

    _fields_ = [
        ("magic", ctypes.c_int64),
        ("version", ctypes.c_int64),
        ("size", ctypes.c_int64),
        ("owner_pid", ctypes.c_int64),
        ("owner_start", ctypes.c_int64),
        ("reserved", ctypes.c_int64 * 11),
    ]


HEADER_BYTES = ctypes.sizeof(SegmentHeader)


class SegmentError(Exception):
    """A segment cannot be created or used; the text says which and why."""


@dataclass
class Segment:
    """One mapped segment: a context manager that unmaps, and removes what this process created."""

    name: str
    address: int
    """Address of the payload in this process; 0 once closed (nothing may use it any more)."""
    size: int
    """Bytes of payload."""
    owner: Owner
    _map: mmap.mmap = field(repr=False)
    _inode: int = field(repr=False)
    created: bool = False

    @classmethod
    def create(cls, instance: str, purpose: str, size: int) -> Segment:
        """A new zeroed segment of ``size`` payload bytes, owned by the calling process.

        The memory is reserved at once: a full /dev/shm is an error here, not a SIGBUS later.
        Raises SegmentError (name taken, no memory) and ValueError (bad name or size).
        """
        name = object_name(instance, purpose)
        if size <= 0:
            raise ValueError(f"segment {name}: size must be positive, not {size}")
        try:
            handle = posix_ipc.SharedMemory("/" + name, posix_ipc.O_CREX, mode=0o600)
        except posix_ipc.ExistentialError:
            owner = owner_of(name)
            alive = owner is not None and owner.alive()
            held = f"owned by pid {owner.pid}" if owner and alive else "left by a dead process"
            raise SegmentError(f"segment {name} already exists ({held})") from None
        except (posix_ipc.Error, OSError) as problem:
            raise SegmentError(f"segment {name}: {problem}") from None
        try:
            os.posix_fallocate(handle.fd, 0, HEADER_BYTES + size)
            segment = cls._map_fd(name, handle.fd, size, Owner.me(), created=True)
        except OSError as problem:
            posix_ipc.unlink_shared_memory("/" + name)
            raise SegmentError(f"segment {name} of {size} bytes: {problem.strerror}") from None
        finally:
            handle.close_fd()
        header = SegmentHeader.from_address(segment.address - HEADER_BYTES)
        header.version, header.size = VERSION, size
        header.owner_pid, header.owner_start = segment.owner.pid, segment.owner.start
        header.magic = MAGIC
        return segment

    @classmethod
    def attach(cls, instance: str, purpose: str) -> Segment:
        """Map an existing segment read-write.

        Raises SegmentError when it is missing, not (yet) valid or of another version.
        """
        name = object_name(instance, purpose)
        try:
            handle = posix_ipc.SharedMemory("/" + name)
        except posix_ipc.ExistentialError:
            raise SegmentError(f"segment {name} does not exist") from None
        except (posix_ipc.Error, OSError) as problem:
            raise SegmentError(f"segment {name}: {problem}") from None
        try:
            header = _header(os.pread(handle.fd, HEADER_BYTES, 0))
            if header is None:
                raise SegmentError(f"segment {name} is not a segment of this program")
            if header.version != VERSION:
                raise SegmentError(
                    f"segment {name} has version {header.version}, this program uses {VERSION}"
                )
            if header.size <= 0 or HEADER_BYTES + header.size != os.fstat(handle.fd).st_size:
                raise SegmentError(f"segment {name} is damaged: its size does not match its header")
            owner = Owner(header.owner_pid, header.owner_start)
            return cls._map_fd(name, handle.fd, header.size, owner, created=False)
        finally:
            handle.close_fd()

    @classmethod
    def _map_fd(cls, name: str, fd: int, size: int, owner: Owner, *, created: bool) -> Segment:
        memory = mmap.mmap(fd, HEADER_BYTES + size)
        # The ctypes object goes away at once: while one exists the mapping could not be closed.
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        inode = os.fstat(fd).st_ino
        return cls(name, base + HEADER_BYTES, size, owner, memory, inode, created)

    def close(self) -> None:
        """Unmap; whoever still uses ``address`` afterwards crashes.  Idempotent."""
        self.address = 0
        self._map.close()

    def unlink(self) -> bool:
        """Remove the name if this process created it and it still means this segment."""
        if not self.created or self.owner.pid != os.getpid():
            return False
        self.created = False
        try:
            if (SHM_DIR / self.name).stat().st_ino != self._inode:
                return False
            posix_ipc.unlink_shared_memory("/" + self.name)
        except (OSError, posix_ipc.ExistentialError):
            return False
        return True

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *exception: object) -> None:
        self.unlink()
        self.close()


def _header(data: bytes) -> SegmentHeader | None:
    if len(data) < HEADER_BYTES:
        return None
    header = SegmentHeader.from_buffer_copy(data)
    return header if header.magic == MAGIC else None


def owner_of(name: str) -> Owner | None:
    """Owner of the segment called ``name``; None when it is gone or its header is not valid."""
    try:
        with open(SHM_DIR / name, "rb") as file:
            header = _header(file.read(HEADER_BYTES))
    except OSError as problem:
        if problem.errno in (errno.ENOENT, errno.EACCES, errno.EISDIR):
            return None
        raise
    return None if header is None else Owner(header.owner_pid, header.owner_start)
