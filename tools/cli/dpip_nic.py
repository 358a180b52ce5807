"""How dpip shows a network device."""

from dataclasses import dataclass
from typing import Any

from tools.cli.dpip_tables import INDENT, Layout, counter_table, table, with_units
from tools.client import ControlError

NOT_SUPPORTED = -14

# Words of the second line, in this order; the third is misspelt in every DPVS.
_FLAGS = ("promisc", "allmulticast", "foward2kni", "tc-egress", "tc-ingress", "lldp")

_COUNTERS: Layout = (
    tuple((key, key) for key in ("ipackets", "opackets", "ibytes", "obytes")),
    tuple((key, key) for key in ("ierrors", "oerrors", "imissed", "rx_nombuf")),
)
_BUFFERS: Layout = ((("mbuf-avail", "mbuf_avail"), ("mbuf-inuse", "mbuf_inuse")),)
_DRIVER: Layout = ((("pci_addr", "pci_addr"), ("driver_name", "driver_name")),)
_INFO: Layout = tuple(
    tuple((key, key) for key in line.split())
    for line in (
        "if_index min_rx_bufsize max_rx_pktlen max_mac_addrs",
        "max_rx_queues max_tx_queues max_hash_addrs max_vfs",
        "max_vmdq_pools rx_ol_capa tx_ol_capa reta_size",
        "hash_key_size flowtype_rss_ol vmdq_que_base vmdq_que_num",
        "rx_desc_max rx_desc_min rx_desc_align vmdq_pool_base",
        "tx_desc_max tx_desc_min tx_desc_align speed_capa",
    )
)
_HEXADECIMAL = ("rx_ol_capa", "tx_ol_capa", "flowtype_rss_ol")

Row = dict[str, Any]


@dataclass
class NicView:
    """`link show` of one device (`named`) or of all."""

    named: str | None
    stats: bool
    verbose: bool
    status: bool

    request = "link.show"
    rates = with_units(_COUNTERS, {"ibytes": "Bps", "obytes": "Bps"}, "pps")

    def fields(self) -> dict[str, Any]:
        """Fields of the request."""
        fields = {"dev": self.named, "stats": self.stats, "verbose": self.verbose}
        return {**fields, "status": True} if self.status else fields

    def ordered(self, rows: list[Row]) -> list[Row]:
        """Devices by port number."""
        return sorted(rows, key=lambda row: row["id"])

    def basic(self, row: Row) -> str:
        """The three lines every view of a device begins with."""
        return _basic(row)

    def counters(self, row: Row) -> str:
        """What -s adds."""
        return counter_table(_COUNTERS + _BUFFERS, row["stats"])

    def details(self, row: Row) -> str:
        """What -v and `status` add."""
        text = _xstats(row.get("xstats")) if self.stats and self.verbose else ""
        if self.verbose:
            text += _info(row)
        if self.status:
            if not row.get("bond"):
                reason = f"{row['name']} is not a bonding device"
                raise ControlError(NOT_SUPPORTED, "not support", reason)
            text += _bond(row["bond"])
        return text


def _basic(row: Row) -> str:
    flags = {"foward2kni" if flag == "forward2kni" else flag for flag in row["flags"]}
    words = [
        "UP" if row["up"] else "DOWN",
        f"{row['speed']} Mbps",
        row["duplex"],
        "auto-nego" if row["autoneg"] else "fixed-nego",
        *(flag for flag in _FLAGS if flag in flags),
    ]
    hardware = ["addr", row["mac"].upper(), *row["offloads"]]
    return (
        f"{row['id'] + 1}: {row['name']}: socket {row['socket']} mtu {row['mtu']} "
        f"rx-queue {row['rxq']} tx-queue {row['txq']}\n"
        f"{INDENT}{_each(words)}\n"
        f"{INDENT}{_each(hardware)}\n"
    )


def _each(words: list[str]) -> str:
    return "".join(f"{word} " for word in words)


def _xstats(rows: list[Any] | None) -> str:
    if rows is None:
        listed = f"{INDENT * 2}not supported\n"
    else:
        listed = "".join(
            f"{INDENT * 2}{number:<6}{name}: {value}\n" for number, name, value in rows
        )
    return f"{INDENT}xstats list:\n{listed}"


def _info(row: Row) -> str:
    """Device information and queue layout, as far as the daemon knows them."""
    text = ""
    if info := row.get("info"):

        def number(key: str) -> str:
            value = int(info.get(key, 0))
            return f"0x{value:X}" if key in _HEXADECIMAL else str(value)

        text = table(_DRIVER, 32, lambda key: str(info.get(key, "")))
        text += table(_INFO, 16, number)
    if queues := row.get("queues"):
        text += f"{INDENT}Queue Configuration:\n"
        text += "".join(f"{INDENT}{line.lstrip()}\n" for line in queues)
    if groups := row.get("mcast"):
        text += f"{INDENT}HW mcast list:\n"
        text += "".join(f"{INDENT * 2}{line.lstrip()}\n" for line in groups)
    return text


def _bond(bond: dict[str, Any]) -> str:
    slaves = [
        f"{slave['name']}({slave['mac'].upper()}, {'active' if slave['active'] else 'inactive'}"
        f"{', primary' if slave['primary'] else ''})"
        for slave in bond["slaves"]
    ]
    active = sum(1 for slave in bond["slaves"] if slave["active"])
    return (
        f"{INDENT}--- bonding status ---\n"
        f"{INDENT}mode {bond['mode']} mac_addr {bond['mac'].upper()} "
        f"xmit_policy {bond['xmit_policy']} link_monitor {bond['link_monitor']}ms\n"
        f"{INDENT}ative/slaves {active}/{len(slaves)} "
        f"link_down_prop_delay {bond['link_down_prop_delay']}ms "
        f"link_up_prop_delay {bond['link_up_prop_delay']}ms\n"
        f"{INDENT}slaves: {_each(slaves)}\n"
    )
