"""Named shared memory and the instance lock: the public names of ``runtime.shm_*``."""

from __future__ import annotations

from runtime.shm_instance import (
    RUN_ROOT,
    InstanceBusy,
    InstanceClaim,
    InstanceError,
    Recovery,
    claim_instance,
    instance_holder,
    recover_stale,
)
from runtime.shm_owner import Owner, check_instance, object_name
from runtime.shm_segment import HEADER_BYTES, SHM_DIR, Segment, SegmentError, owner_of

__all__ = [
    "HEADER_BYTES",
    "RUN_ROOT",
    "SHM_DIR",
    "InstanceBusy",
    "InstanceClaim",
    "InstanceError",
    "Owner",
    "Recovery",
    "Segment",
    "SegmentError",
    "check_instance",
    "claim_instance",
    "instance_holder",
    "object_name",
    "owner_of",
    "recover_stale",
]
