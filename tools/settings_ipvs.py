"""ipvs_defs: connections and protocols of the load balancer."""

# ruff: noqa: RUF009 - the calls declare fields, they make no shared value

from dataclasses import dataclass
from typing import Any

from runtime.config_kinds import Choice, Flag, Int, Switch, floor_pow2, floor_pow2_less_1
from runtime.config_schema import block, opt
from tools.settings_net import NOT_YET

_SECONDS = Int(1, 31535999, "s")


def _seconds(default: int, doc: str) -> Any:
    return opt(default, _SECONDS, doc, reload=True)


def _flag(default: bool, doc: str) -> Any:
    return opt(default, Flag(), doc, reload=True)


@dataclass(frozen=True)
class Conn:
    """Block conn of ipvs_defs. `connections_per_worker` is the size that counts."""

    conn_pool_size: int = opt(
        2097151,
        Int(65536, (1 << 31) - 1, "", floor_pow2_less_1),
        "connections a worker can hold, if conn_table_size is not given",
    )
    conn_table_size: int | None = opt(
        None,
        Int(64, (1 << 31) - 1),
        "connections a worker can hold, exactly; wins over conn_pool_size and may be smaller",
    )
    conn_pool_cache: int = opt(
        256, Int(1, (1 << 31) - 1, "", floor_pow2), "accepted; tables need no cache of free entries"
    )
    template_table_size: int = opt(
        262144,
        Int(64, 1 << 27),
        "clients (or networks of clients) persistence can remember, all workers together; "
        "73 bytes each",
    )
    conn_init_timeout: int = _seconds(3, "life of a connection before its first change of state")
    expire_quiescent_template: bool = _flag(
        False, "persistence does not hold clients to real servers of weight 0"
    )
    fast_xmit_close: bool = opt(
        False, Flag(), "accepted; a changed route or neighbour is noticed by the next packet anyhow"
    )
    xmit_ttl: bool = _flag(False, "decrement TTL of forwarded packets")
    redirect: bool = opt(
        False, Switch(), "accepted; packets that reach a wrong worker are always handed over"
    )

    @property
    def connections_per_worker(self) -> int:
        """Entries of the connection table of one worker."""
        return self.conn_table_size or self.conn_pool_size


@dataclass(frozen=True)
class UdpTimeout:
    """Block timeout of udp."""

    oneway: int = _seconds(300, "packets seen from one side only")
    normal: int = _seconds(300, "packets seen from both sides")
    last: int = _seconds(2, "connection is closing")


@dataclass(frozen=True)
class Udp:
    """Block udp of ipvs_defs."""

    defence_udp_drop: bool = _flag(
        False, "accepted; UDP for a VIP on which no UDP service listens is always dropped"
    )
    uoa_mode: str = opt(
        "opp",
        Choice(("opp", "ipo")),
        "client address in a header of protocol 248 (opp) or in an IP option (ipo)",
        reload=True,
    )
    uoa_max_trail: int = opt(
        0,
        Int(0, (1 << 31) - 1),
        "packets of a FullNAT connection that carry the client address; only for real servers that "
        "know how to read it (the original's default is 3)",
        reload=True,
    )
    timeout: UdpTimeout = block(UdpTimeout, "idle time of a UDP connection by state")


@dataclass(frozen=True)
class TcpTimeout:
    """Block timeout of tcp."""

    none: int = _seconds(2, "no state yet")
    established: int = _seconds(90, "ESTABLISHED")
    syn_sent: int = _seconds(3, "SYN_SENT")
    syn_recv: int = _seconds(30, "SYN_RECV")
    fin_wait: int = _seconds(7, "FIN_WAIT")
    time_wait: int = _seconds(7, "TIME_WAIT")
    close: int = _seconds(3, "CLOSE")
    close_wait: int = _seconds(7, "CLOSE_WAIT")
    last_ack: int = _seconds(7, "LAST_ACK")
    listen: int = _seconds(120, "LISTEN")
    synack: int = _seconds(30, "SYNACK")
    last: int = _seconds(2, "end of the list of states")


@dataclass(frozen=True)
class SynackOptions:
    """Block synack_options of synproxy: the SYN-ACK sent for the real server."""

    mss: int = opt(1452, Int(1, 65535, "bytes"), "largest MSS offered to a client", reload=True)
    ttl: int = opt(63, Int(1, 255), "TTL", reload=True)
    sack: bool = _flag(True, "offer selective acknowledgement")
    wscale: int = opt(0, Int(0, 14), "window scale, 0: not offered", reload=True)
    timestamp: bool = _flag(False, "offer timestamps")


@dataclass(frozen=True)
class ConnReuse:
    """Block conn_reuse_state of synproxy."""

    close: bool = _flag(True, "a new SYN reuses a connection in CLOSE")
    time_wait: bool = _flag(True, "... in TIME_WAIT")
    fin_wait: bool = _flag(False, "... in FIN_WAIT")
    close_wait: bool = _flag(False, "... in CLOSE_WAIT")
    last_ack: bool = _flag(False, "... in LAST_ACK")


@dataclass(frozen=True)
class Synproxy:
    """Block synproxy of tcp."""

    synack_options: SynackOptions = block(SynackOptions, "the SYN-ACK sent to the client")
    close_client_window: bool = _flag(False, "keep the client's window closed until connected")
    defer_rs_syn: bool = _flag(False, "connect the real server at the client's first data only")
    rs_syn_max_retry: int = opt(3, Int(1, 99), "SYNs sent to a real server", reload=True)
    ack_storm_thresh: int = opt(10, Int(1, 999), "equal ACKs until they are dropped", reload=True)
    max_ack_saved: int = opt(3, Int(1, 63), "client packets kept while connecting", reload=True)
    conn_reuse_state: ConnReuse = block(ConnReuse, "states in which a new SYN is accepted")


@dataclass(frozen=True)
class Tcp:
    """Block tcp of ipvs_defs."""

    defence_tcp_drop: bool = _flag(
        False,
        "accepted; TCP for a VIP that is neither a SYN nor of a known connection is always dropped",
    )
    toa: bool = opt(
        True,
        Switch(),
        "tell FullNAT real servers the client's address in a TCP option (kind 254)",
        reload=True,
    )
    new_isn: bool = opt(
        False,
        Switch(),
        "FullNAT: give every connection an initial sequence number that grows from one connection "
        "over a local port to the next, and no timestamps; for real servers that close first and "
        "get so many connections that ports return while they keep the last one in TIME-WAIT",
        reload=True,
    )
    timeout: TcpTimeout = block(TcpTimeout, "idle time of a TCP connection by state")
    synproxy: Synproxy = block(Synproxy, "SYN proxy", inert=f"the SYN proxy is {NOT_YET}")


@dataclass(frozen=True)
class IpvsDefs:
    """Block ipvs_defs."""

    conn: Conn = block(Conn, "connection table")
    udp: Udp = block(Udp, "UDP")
    tcp: Tcp = block(Tcp, "TCP")
