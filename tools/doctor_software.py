"""Checks of Python, its packages and DPDK's libraries."""

import re
import sys
from collections.abc import Callable, Iterator
from importlib import metadata

from tools.doctor_host import FAIL, OK, Check, Host
from tools.settings_model import Settings
from tools.settings_port import PciPort, Port, VdevPort

PYTHON = (3, 11)
# Distribution -> (first usable version, first version too new), as in pyproject.toml.
PACKAGES: dict[str, tuple[str, str]] = {
    "numba": ("0.61", "0.70"),
    "llvmlite": ("0.44", "0.50"),
    "numpy": ("1.26", "3"),
    "posix-ipc": ("1.1", "2"),
    "sortedcontainers": ("2.4", "3"),
    "msgpack": ("1.0.5", "2"),
    "click": ("8.1", "9"),
}
ABIS = {23: "22.11"}  # as netdev.abi, which needs numba and is therefore not asked
_LIB_FOLDERS = (
    "usr/lib/*-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/local/lib/*-linux-gnu",
    "usr/local/lib64",
    "usr/local/lib",
)
_INSTALL = "apt-get install -y librte-meta-bus librte-meta-mempool librte-meta-net"


def installed(name: str) -> str | None:
    """Version of an installed distribution, None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def python_checks(
    version: tuple[int, ...] = tuple(sys.version_info[:3]),
    find: Callable[[str], str | None] = installed,
) -> Iterator[Check]:
    """The interpreter and the packages the daemon imports."""
    shown = ".".join(map(str, version))
    if version[:2] < PYTHON:
        wanted = ".".join(map(str, PYTHON))
        text = f"{shown} is too old, {wanted} or later is needed"
        yield Check("python", FAIL, text, f"apt-get install -y python{wanted} python{wanted}-venv")
    else:
        yield Check("python", OK, shown)
    bad, good = [], []
    for name, (first, limit) in PACKAGES.items():
        found = find(name)
        good.append(f"{name} {found}")
        if found is None or not _parts(first) <= _parts(found) < _parts(limit):
            bad.append((f"{name} {found or 'is missing'}", f"'{name}>={first},<{limit}'"))
    if bad:
        fix = f"{sys.executable} -m pip install {' '.join(spec for _, spec in bad)}"
        text = ", ".join(what for what, _ in bad)
        yield Check("packages", FAIL, f"not usable: {text}", fix)
    else:
        yield Check("packages", OK, ", ".join(good))


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def dpdk_checks(host: Host, settings: Settings | None) -> Iterator[Check]:
    """DPDK's libraries, their ABI, and a driver for every kind of port."""
    found: dict[int, str] = {}
    for folder in _LIB_FOLDERS:
        for path in host.find(f"{folder}/librte_eal.so.*"):
            if match := re.search(r"\.so\.(\d+)$", path):
                found.setdefault(int(match[1]), path)
    known = ", ".join(f"{release} (ABI {abi})" for abi, release in ABIS.items())
    usable = sorted(set(found) & set(ABIS), reverse=True)
    if not usable:
        other = ", ".join(f"ABI {abi} in {path}" for abi, path in found.items()) or "no library"
        yield Check("dpdk", FAIL, f"found {other}, needed is DPDK {known}", _INSTALL)
        return
    abi = usable[0]
    yield Check("dpdk", OK, f"{ABIS[abi]} (ABI {abi}) in {found[abi]}")
    folder = found[abi].rsplit("/", 1)[0].lstrip("/")
    drivers = {
        match[1]
        for path in host.find(f"{folder}/dpdk/pmds-{abi}*/librte_*.so*")
        if (match := re.search(r"librte_(\w+)\.so", path))
    }
    needed = {"mempool_ring", *(_driver(d.port) for d in settings.devices)} if settings else {""}
    missing = sorted(item for item in needed if item and item not in drivers)
    where = f"/{folder}/dpdk/pmds-{abi}.0"
    if not drivers:
        yield Check("dpdk drivers", FAIL, f"none in {where}", _INSTALL)
    elif missing:
        names = ", ".join(f"librte_{name}" for name in missing)
        yield Check("dpdk drivers", FAIL, f"missing in {where}: {names}", _INSTALL)
    else:
        yield Check("dpdk drivers", OK, f"{len(drivers)} in {where}")


def _driver(port: Port | None) -> str:
    """Library that makes a port work; the one of a card depends on its maker."""
    if port is None:
        return ""
    if isinstance(port, PciPort):
        return "bus_pci"
    if isinstance(port, VdevPort):
        name = re.split(r"[\d,]", port.spec)[0]
        return {"eth_bond": "net_bond", "net_bonding": "net_bond"}.get(name, name.rstrip("_"))
    return f"net_{port.KIND}"
