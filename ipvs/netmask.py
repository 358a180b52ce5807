"""How much of a client's address persistence looks at: a mask as commands write it."""

from __future__ import annotations

import ipaddress

from runtime.intrinsics import signed


def mask_bits(text: str) -> int | None:
    """Leading ones of 255.255.255.0 or of a prefix length 1..128; None for any other text."""
    if text.isascii() and text.isdigit():
        return int(text) if 1 <= int(text) <= 128 else None
    try:
        network = ipaddress.IPv4Network(f"0.0.0.0/{text}")
    except ValueError:
        return None
    return network.prefixlen if text == str(network.netmask) and network.prefixlen else None


def mask_words(text: str | None, wide: bool) -> tuple[int, int]:
    """The mask over the two raw halves of an address (IPv4: the low one's lower 32 bits)."""
    size = 128 if wide else 32
    bits = size if text is None else min(mask_bits(text) or size, size)
    mask = ((1 << bits) - 1) << (size - bits)
    raw = mask.to_bytes(size // 8, "big")
    high, low = (raw[:8], raw[8:]) if wide else (b"", raw)
    return signed(int.from_bytes(high, "little")), signed(int.from_bytes(low, "little"))
