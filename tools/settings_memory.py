"""How much memory a configuration takes."""

from tools.settings_model import Settings

PAGE = 2 << 20
BUFFER_BYTES = 2432  # 128 mbuf, 128 headroom, 2048 data, object header, place in the pool's ring
CONNECTION_BYTES = 155  # entry and its share of the index
FIXED_BYTES = 64 << 20  # DPDK itself, descriptor rings, counters


def huge_bytes(settings: Settings, nodes: int = 1) -> int:
    """Bytes of hugepages (or ordinary memory, with `huge off`) the daemon needs.

    `nodes` is the number of NUMA nodes: each has its own packet buffers.
    """
    buffers = settings.netif_defs.pktpool_size * BUFFER_BYTES * nodes
    workers = len(settings.worker_defs.forwarding) or 1
    connections = settings.ipvs_defs.conn.connections_per_worker * CONNECTION_BYTES * workers
    return max(FIXED_BYTES + buffers + connections, settings.global_defs.memory << 20)


def huge_pages(settings: Settings, nodes: int = 1) -> int:
    """The same in pages of 2 MB."""
    return -(-huge_bytes(settings, nodes) // PAGE)
