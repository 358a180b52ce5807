"""Everything one worker's packet path works with, reached from one address."""

from __future__ import annotations

import ctypes

from netdev.port import BURST
from runtime.pointers import view

MAX_WORKERS = 64
SCRATCH = 2 * BURST


class PacketStruct(ctypes.Structure):
    """What the stages of a burst hand on about one packet: one cache line.

    ``kind`` 0 is the common shape (plain IPv4 TCP or UDP, for our MAC, checked); see classify.
    """

    _fields_ = [
        ("mbuf", ctypes.c_int64),
        ("data", ctypes.c_int64),  # address of the Ethernet header
        ("addresses", ctypes.c_int64),  # raw source and destination
        ("ports", ctypes.c_int64),  # raw ports, protocol in bits 32..39
        ("bucket", ctypes.c_int64),
        ("tag", ctypes.c_int64),
        ("reference", ctypes.c_int64),
        ("kind", ctypes.c_int64),
    ]


class IpvsStruct(ctypes.Structure):
    """Per-worker context (process memory); addresses of tables, settings, loop state."""

    _fields_ = [
        ("stack", ctypes.c_int64),  # StackStruct
        ("table", ctypes.c_int64),  # TableStruct: connections
        ("index", ctypes.c_int64),  # IndexStruct inside the table
        ("services", ctypes.c_int64),  # ServiceTableStruct
        ("rules", ctypes.c_int64),  # RulesStruct: match services
        ("dests", ctypes.c_int64),  # DestStruct[]
        ("dest_stats", ctypes.c_int64),  # DestStatsStruct[], shared memory
        ("laddrs", ctypes.c_int64),  # LaddrStruct[]
        ("laddr_stats", ctypes.c_int64),  # LaddrStatsStruct[], shared memory
        ("states", ctypes.c_int64),  # StateTablesStruct
        ("rss", ctypes.c_int64),  # RssStruct, 0 when no port's RSS is known
        ("datagrams", ctypes.c_int64),  # DatagramsStruct: fragments that are passing
        ("control", ctypes.c_int64),  # stop word and request ring, see ipvs/loop.py
        ("xmit_ttl", ctypes.c_int64),
        ("init_timeout", ctypes.c_int64),  # seconds, before the first state
        ("toa", ctypes.c_int64),  # FullNAT TCP tells servers the client's address
        ("new_isn", ctypes.c_int64),  # FullNAT TCP gets new initial sequence numbers
        ("uoa_packets", ctypes.c_int64),  # of a FullNAT UDP connection that name the client
        ("uoa_in_ip", ctypes.c_int64),  # in an IP option instead of a header of protocol 248
        ("worker", ctypes.c_int64),
        ("workers", ctypes.c_int64),
        ("nat_services", ctypes.c_int64),  # how many services have NAT real servers
        ("polls", ctypes.c_int64),
        ("empty_polls", ctypes.c_int64),
        ("half_polls", ctypes.c_int64),  # more than half a burst
        ("full_polls", ctypes.c_int64),
        ("handed_out", ctypes.c_int64),
        ("handed_in", ctypes.c_int64),
        ("hand_slot", ctypes.c_int64),
        # Cycle accounting by stage: switched on by writing 1 (any process may), see ipvs/stages.py.
        ("accounting", ctypes.c_int64),
        ("stage_cycles", ctypes.c_int64 * 8),
        ("stage_packets", ctypes.c_int64),
        ("sctp_chunk", ctypes.c_int64),  # first chunk type of the SCTP packet being handled
        ("mbufs", ctypes.c_int64 * SCRATCH),
        ("packet", PacketStruct * SCRATCH),
        # Server-side references of connections opened in this burst, not in the index yet.
        ("pending_count", ctypes.c_int64),
        ("pending", ctypes.c_int64 * SCRATCH),
        ("scratch", ctypes.c_int64 * 32),  # a header while it is being written
        ("out_rings", ctypes.c_int64 * MAX_WORKERS),  # pointer rings to the other workers
        ("in_rings", ctypes.c_int64 * MAX_WORKERS),
        ("templates", ctypes.c_int64),  # TemplatesStruct: persistence, shared by all workers
        ("dest_templates", ctypes.c_int64),  # int64[]: templates by real server, shared memory
        ("template_quiescent", ctypes.c_int64),  # templates of weight-0 servers are not followed
        ("template", ctypes.c_int64),  # that the connection being opened is to note, 0 = none
        ("sweep", ctypes.c_int64),  # where the sweep over the templates goes on
        ("sctp_length", ctypes.c_int64),  # of that packet from the ports on, all fragments together
        ("leading", ctypes.c_int64),  # DatagramStruct: whose first fragment is being handled, or 0
        # Established connections that were idle for too long, see ipvs/ending.py.
        ("idle_probed", ctypes.c_int64),  # whose ends were asked for their numbers
        ("idle_resets", ctypes.c_int64),  # RSTs sent to their ends
        ("idle_untold", ctypes.c_int64),  # that were gone before both ends were told
    ]


Ipvs = view(IpvsStruct)
Packet = view(PacketStruct)
HAND_AT = IpvsStruct.hand_slot.offset
MBUFS_AT = IpvsStruct.mbufs.offset
SCRATCH_AT = IpvsStruct.scratch.offset
PACKETS_AT = IpvsStruct.packet.offset
PACKET_SIZE = ctypes.sizeof(PacketStruct)
if PACKETS_AT % 64 != 0 or MBUFS_AT % 64 != 0:
    raise AssertionError("what a burst works with does not begin on a cache line")
