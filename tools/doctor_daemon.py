"""Checks of the process: privileges, a daemon that runs already, files of one that was killed."""

import shlex
from collections.abc import Iterator

from tools.doctor_host import FAIL, OK, WARN, Check, Host
from tools.settings_model import Settings
from tools.settings_port import TapPort

# Bits of capabilities(7) a daemon needs.
_CAPABILITIES = {"CAP_IPC_LOCK": 14, "CAP_SYS_ADMIN": 21}
_FOR_TAP = {"CAP_NET_ADMIN": 12}


def privilege_checks(host: Host, settings: Settings | None) -> Iterator[Check]:
    """Root, or the capabilities that matter."""
    effective = host.capabilities()
    if effective is None:
        yield Check("privileges", WARN, "cannot be read from /proc/self/status")
        return
    needed = dict(_CAPABILITIES)
    if settings and any(isinstance(device.port, TapPort) for device in settings.devices):
        needed |= _FOR_TAP
    missing = [name for name, bit in needed.items() if not effective >> bit & 1]
    root = (host.field("proc/self/status", "Uid") or "").split()[:1] == ["0"]
    if not missing:
        yield Check("privileges", OK, "root" if root else "has the capabilities it needs")
    elif root:
        text = f"root without {', '.join(missing)}: the container withholds them"
        yield Check("privileges", FAIL, text, "docker run --privileged ...")
    else:
        yield Check("privileges", FAIL, f"lacks {', '.join(missing)}", "sudo dpvs doctor")


def instance_check(host: Host, name: str) -> tuple[bool, Check]:
    """Whether instance `name` runs; if not, whether it left files behind."""
    try:
        from runtime import shm_instance  # needs a package whose absence is reported elsewhere
    except ImportError as error:
        return False, Check("instance", WARN, f"cannot tell whether {name} runs: {error}")
    try:
        pid = shm_instance.instance_holder(name, host.path("run/dpvs"))
    except (ValueError, shm_instance.InstanceError) as error:
        return False, Check("instance", FAIL, str(error))
    if pid is not None:
        return True, Check("instance", OK, f"{name} is running (pid {pid or 'unknown'})")
    left = stale_files(host, name)
    if not left:
        text = f"{name} does not run, nothing is left of an earlier one"
        return False, Check("instance", OK, text)
    shown = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    text = f"{name} does not run but left {shown}; the next start cleans up"
    fix = f"rm -rf {' '.join(shlex.quote(path) for path in left)}"
    return False, Check("instance", WARN, text, fix)


def stale_files(host: Host, name: str) -> list[str]:
    """Files that only a running daemon of this name should have."""
    patterns = (
        f"run/dpvs/{name}/*.sock",
        f"dev/shm/dpvs_{name}_*",
        f"run/dpdk/{name}",
        f"dev/hugepages/{name}map_*",
    )
    return [path for pattern in patterns for path in host.find(pattern)]
