"""The attributes of a service that follow its scheduler in the listing."""

from typing import Any

_FULL_MASKS = (None, "255.255.255.255", "128")
_DEFAULT_CHECK = "1,1,3s,5-3600s"
_EXTERNAL_CHECKS = ("tcp", "udp", "sctp", "ping")


def service_suffixes(entry: dict[str, Any]) -> str:
    """All attributes that differ from their default, each with a blank before it."""
    words = []
    if target := entry.get("hash_target"):
        words.append(target)
    if seconds := entry.get("persistent"):
        words.append(f"persistent {seconds}")
        if (mask := partial_mask(entry)) is not None:
            words.append(f"mask {mask}")
    if seconds := entry.get("slow_start"):
        words.append(f"slow-start {seconds}")
    if entry.get("ops"):
        words.append("ops")
    if entry.get("synproxy"):
        words.append("synproxy")
    if seconds := entry.get("conn_timeout"):
        words.append(f"conn-timeout {seconds}")
    if (version := entry.get("proxy_protocol") or "disable") != "disable":
        words.append(f"pp{version}")
    if entry.get("expire_quiescent"):
        words.append("expire-quiescent")
    if entry.get("quic") and entry["svc"].get("proto") == "udp":
        words.append("quic")
        if lb := entry.get("quic_lb"):
            words.append(f"quic-lb {lb}")
    words.extend(_check_words(entry.get("dest_check") or []))
    return "".join(f" {word}" for word in words)


def partial_mask(entry: dict[str, Any]) -> str | None:
    """The persistence mask of a service where it is not the whole address."""
    mask = entry.get("netmask")
    return None if mask in _FULL_MASKS else str(mask)


def _check_words(checks: list[str]) -> list[str]:
    internal = [check for check in checks if check not in _EXTERNAL_CHECKS]
    external = [check for check in _EXTERNAL_CHECKS if check in checks]
    words = ["dest-check"] if checks else []
    if internal:
        check = internal[-1]
        words.append(f"internal:{'default' if check == _DEFAULT_CHECK else check}")
    if external:
        words.append(f"external:{','.join(external)}")
    return words
