"""From a configured port kind to DPDK: EAL arguments and the name DPDK gives the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def device_arguments(index: int, kind: str, values: Mapping[str, Any]) -> tuple[list[str], str]:
    """(EAL arguments, DPDK device name) of the ``index``-th device.

    ``kind`` is pci, tap, pcap, null, ring, memif or vdev; ``values`` its parameters.  Raises
    ValueError for an unknown kind.
    """
    if kind == "pci":
        return ["-a", values["addr"]], values["addr"]
    if kind == "vdev":
        return [f"--vdev={values['spec']}"], values["spec"].partition(",")[0]
    name = f"net_{kind}{index}"
    words = _WORDS.get(kind)
    if words is None:
        raise ValueError(f"unknown port kind {kind!r}")
    return ["--vdev=" + ",".join([name, *words(index, values)])], name


def _tap(index: int, values: Mapping[str, Any]) -> list[str]:
    words = [f"iface={values.get('iface') or f'dtap{index}'}"]
    return words + ([f"mac={values['mac']}"] if values.get("mac") else [])


def _pcap(index: int, values: Mapping[str, Any]) -> list[str]:
    words = [f"rx_pcap={values['rx']}"] if values.get("rx") else []
    words += [f"tx_pcap={values['tx']}"] if values.get("tx") else []
    return words + (["infinite_rx=1"] if values.get("infinite") else [])


def _null(index: int, values: Mapping[str, Any]) -> list[str]:
    return [f"size={values.get('size', 64)}", f"copy={values.get('copy', 0)}"]


def _ring(index: int, values: Mapping[str, Any]) -> list[str]:
    return []


def _memif(index: int, values: Mapping[str, Any]) -> list[str]:
    return [
        f"role={values.get('role', 'client')}",
        f"id={values.get('id', 0)}",
        f"socket={values.get('socket', '/run/memif.sock')}",
        "socket-abstract=no",
    ]


_WORDS = {"tap": _tap, "pcap": _pcap, "null": _null, "ring": _ring, "memif": _memif}


def pci_arguments(arguments: list[str]) -> list[str]:
    """Keep EAL off every PCI device that no ``-a`` names (the operator's own cards)."""
    return [] if "-a" in arguments else ["--no-pci"]
