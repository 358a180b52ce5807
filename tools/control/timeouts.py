"""The three timeouts that `ipvsadm --set` knows, out of the many the configuration has.

tcp is that of established connections, tcpfin of those one side has closed, udp of UDP whether
both sides were heard or one.  Seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipvs.tcp import TCP_TIMEOUTS, UDP_TIMEOUTS

NAMES = ("tcp", "tcpfin", "udp")
Seconds = dict[str, int]


def _full(params: Mapping[str, Any]) -> tuple[Seconds, Seconds]:
    tcp, udp = params.get("tcp_timeouts") or {}, params.get("udp_timeouts") or {}
    return {**TCP_TIMEOUTS, **tcp}, {**UDP_TIMEOUTS, **udp}


def in_force(params: Mapping[str, Any]) -> Seconds:
    """The three as they are now."""
    tcp, udp = _full(params)
    return {"tcp": tcp["established"], "tcpfin": tcp["fin_wait"], "udp": udp["normal"]}


def applied(params: Mapping[str, Any], chosen: Mapping[str, int]) -> tuple[Seconds, Seconds]:
    """All timeouts of TCP and of UDP when the chosen ones of the three are changed."""
    tcp, udp = _full(params)
    if "tcp" in chosen:
        tcp["established"] = chosen["tcp"]
    if "tcpfin" in chosen:
        tcp["fin_wait"] = chosen["tcpfin"]
    if "udp" in chosen:
        udp["oneway"] = udp["normal"] = chosen["udp"]
    return tcp, udp


def timeout_lines(chosen: Mapping[str, int]) -> list[str]:
    """The command that chooses them again; 0 stands for what the configuration says."""
    if not chosen:
        return []
    return ["ipvsadm --set " + " ".join(str(chosen.get(name, 0)) for name in NAMES)]
