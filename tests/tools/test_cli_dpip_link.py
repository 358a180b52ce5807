"""dpip link: devices and cores, byte for byte."""

import pytest
from cli_fakes import FakeTransport, run_dpip, sample

from tools.client import ControlError

STATS = {
    "ipackets": 1000,
    "opackets": 900,
    "ibytes": 64000,
    "obytes": 57600,
    "ierrors": 0,
    "oerrors": 0,
    "imissed": 0,
    "rx_nombuf": 0,
    "mbuf_avail": 1040384,
    "mbuf_inuse": 8191,
}
INFO = {
    "pci_addr": "0000:01:00.0",
    "driver_name": "net_ixgbe",
    "if_index": 0,
    "min_rx_bufsize": 1024,
    "max_rx_pktlen": 15872,
    "max_mac_addrs": 127,
    "max_rx_queues": 128,
    "max_tx_queues": 64,
    "max_hash_addrs": 4096,
    "max_vfs": 0,
    "max_vmdq_pools": 64,
    "rx_ol_capa": 0x92E6F,
    "tx_ol_capa": 0x2803F,
    "reta_size": 128,
    "hash_key_size": 40,
    "flowtype_rss_ol": 0x38D34,
    "vmdq_que_base": 0,
    "vmdq_que_num": 128,
    "rx_desc_max": 4096,
    "rx_desc_min": 32,
    "rx_desc_align": 8,
    "vmdq_pool_base": 0,
    "tx_desc_max": 4096,
    "tx_desc_min": 32,
    "tx_desc_align": 8,
    "speed_capa": 1312,
}
NIC = {
    "id": 0,
    "name": "dpdk0",
    "socket": 0,
    "mtu": 1500,
    "rxq": 8,
    "txq": 8,
    "up": True,
    "speed": 10000,
    "duplex": "full-duplex",
    "autoneg": True,
    "flags": ["lldp", "promisc"],
    "mac": "90:e2:ba:11:22:33",
    "offloads": [
        "OF_RX_IP_CSUM",
        "OF_TX_IP_CSUM",
        "OF_TX_TCP_CSUM",
        "OF_TX_UDP_CSUM",
        "OF_TX_FAST_FREE",
    ],
    "stats": STATS,
    "xstats": [[0, "rx_good_packets", 1000], [1, "tx_good_packets", 900]],
    "info": INFO,
    "queues": [
        "rx0-tx0     cpu1-cpu1                ",
        "    rx1-tx1     cpu2-cpu2                ",
        "rx2-tx2     xx-cpu3                  ",
    ],
    "mcast": [
        "link 33:33:00:00:00:01 refcnt 2, synced 1",
        "link 01:00:5e:00:00:01 (kni) refcnt 1, synced 1",
    ],
}
BASIC = sample("""\
1: dpdk0: socket 0 mtu 1500 rx-queue 8 tx-queue 8
    UP 10000 Mbps full-duplex auto-nego promisc lldp |
    addr 90:E2:BA:11:22:33 OF_RX_IP_CSUM OF_TX_IP_CSUM OF_TX_TCP_CSUM OF_TX_UDP_CSUM \
OF_TX_FAST_FREE |
""")
COUNTERS = sample("""\
    ipackets            opackets            ibytes              obytes              |
    1000                900                 64000               57600               |
    ierrors             oerrors             imissed             rx_nombuf           |
    0                   0                   0                   0                   |
    mbuf-avail          mbuf-inuse          |
    1040384             8191                |
""")
RATES = sample("""\
    ipackets/pps    opackets/pps    ibytes/Bps      obytes/Bps      |
    100             90              6400            5760            |
    ierrors/pps     oerrors/pps     imissed/pps     rx_nombuf/pps   |
    0               0               0               0               |
""")
XSTATS = """\
    xstats list:
        0     rx_good_packets: 1000
        1     tx_good_packets: 900
"""
DETAILS = sample("""\
    pci_addr                        driver_name                     |
    0000:01:00.0                    net_ixgbe                       |
    if_index        min_rx_bufsize  max_rx_pktlen   max_mac_addrs   |
    0               1024            15872           127             |
    max_rx_queues   max_tx_queues   max_hash_addrs  max_vfs         |
    128             64              4096            0               |
    max_vmdq_pools  rx_ol_capa      tx_ol_capa      reta_size       |
    64              0x92E6F         0x2803F         128             |
    hash_key_size   flowtype_rss_ol vmdq_que_base   vmdq_que_num    |
    40              0x38D34         0               128             |
    rx_desc_max     rx_desc_min     rx_desc_align   vmdq_pool_base  |
    4096            32              8               0               |
    tx_desc_max     tx_desc_min     tx_desc_align   speed_capa      |
    4096            32              8               1312            |
    Queue Configuration:
    rx0-tx0     cpu1-cpu1                |
    rx1-tx1     cpu2-cpu2                |
    rx2-tx2     xx-cpu3                  |
    HW mcast list:
        link 33:33:00:00:00:01 refcnt 2, synced 1
        link 01:00:5e:00:00:01 (kni) refcnt 1, synced 1
""")


@pytest.mark.parametrize(
    ("command", "text", "fields"),
    [
        ("link show", BASIC, {}),
        ("link show dpdk0", BASIC, {"dev": "dpdk0"}),
        ("-s link show dpdk0", BASIC + COUNTERS, {"dev": "dpdk0", "stats": True}),
        ("-v link list", BASIC + DETAILS, {"verbose": True}),
        (
            "link show -sv",
            BASIC + COUNTERS + XSTATS + DETAILS,
            {"stats": True, "verbose": True},
        ),
    ],
)
def test_device(command, text, fields):
    outcome = run_dpip(command, FakeTransport(link_show=[NIC]))
    assert (outcome.status, outcome.out, outcome.err) == (0, text, "")
    defaults = {"dev": None, "stats": False, "verbose": False}
    assert outcome.only_call == ("link.show", {**defaults, **fields})


def test_device_that_is_down_and_knows_little():
    nic = {
        **NIC,
        "id": 4,
        "up": False,
        "speed": 0,
        "duplex": "half-duplex",
        "autoneg": False,
        "flags": ["forward2kni", "tc-ingress", "allmulticast", "tc-egress"],
        "offloads": [],
        "xstats": None,
        "info": None,
        "queues": [],
        "mcast": [],
    }
    outcome = run_dpip("-s -v link show", FakeTransport(link_show=[nic]))
    assert outcome.out == (
        "5: dpdk0: socket 0 mtu 1500 rx-queue 8 tx-queue 8\n"
        "    DOWN 0 Mbps half-duplex fixed-nego allmulticast foward2kni tc-egress tc-ingress \n"
        "    addr 90:E2:BA:11:22:33 \n"
        f"{COUNTERS}"
        "    xstats list:\n"
        "        not supported\n"
    )


def growing(name: str, number: int):
    """A device whose counters grow by the sample values in every ten seconds."""
    asked = -1

    def reply(**fields) -> list[dict]:
        nonlocal asked
        asked += 1
        stats = {key: value * asked for key, value in STATS.items()}
        return [{**NIC, "id": number, "name": name, "stats": stats}]

    return reply


def test_rates_of_one_device():
    slept = []
    transport = FakeTransport(link_show=growing("dpdk0", 0))
    outcome = run_dpip("-s link show dpdk0 -i 10 -c 2", transport, slept.append)
    assert outcome.out == BASIC + RATES + RATES
    assert slept == [10, 10]


def test_rates_of_several_devices_name_them():
    first, second = growing("dpdk0", 0), growing("dpdk1", 1)
    transport = FakeTransport(link_show=lambda **fields: second() + first())
    outcome = run_dpip("-s link show -i 10 -c 1", transport)
    assert outcome.out == BASIC + RATES + BASIC.replace("1: dpdk0", "2: dpdk1") + RATES


def test_rates_in_colours_until_interrupted():
    pauses = iter([None, None])

    def sleep(seconds: float) -> None:
        if next(pauses, "end") == "end":
            raise KeyboardInterrupt

    transport = FakeTransport(link_show=growing("dpdk0", 0))
    outcome = run_dpip("-C -s -i 10 -c 0 link show dpdk0", transport, sleep)
    assert outcome.status == 130
    assert outcome.out == f"{BASIC}\033[34m{RATES}\033[32m{RATES}\033[0m"


def test_rates_of_no_device_end_at_once():
    outcome = run_dpip("-s -i 1 link show", FakeTransport([]))
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_rate_of_a_counter_that_was_reset_is_zero():
    stats = iter([STATS, dict.fromkeys(STATS, 0)])
    transport = FakeTransport(link_show=lambda **fields: [{**NIC, "stats": next(stats)}])
    outcome = run_dpip("-s -i 1 -c 1 link show", transport)
    assert outcome.out.splitlines()[4].split() == ["0"] * 4


BOND = """\
    --- bonding status ---
    mode 4 mac_addr 90:E2:BA:11:22:33 xmit_policy LAYER34 link_monitor 10ms
    ative/slaves 2/2 link_down_prop_delay 0ms link_up_prop_delay 0ms
    slaves: dpdk0(90:E2:BA:11:22:33, active, primary) dpdk1(90:E2:BA:11:22:33, active) |
"""


def test_bond_status():
    slave = {"name": "dpdk0", "mac": NIC["mac"], "active": True, "primary": True}
    bond = {
        "mode": 4,
        "mac": NIC["mac"],
        "xmit_policy": "LAYER34",
        "link_monitor": 10,
        "link_down_prop_delay": 0,
        "link_up_prop_delay": 0,
        "slaves": [slave, {**slave, "name": "dpdk1", "primary": False}],
    }
    transport = FakeTransport(link_show=[{**NIC, "bond": bond}])
    outcome = run_dpip("link show bond0 status", transport)
    assert outcome.out == BASIC + sample(BOND)
    assert outcome.only_call[1]["status"] is True
    outcome = run_dpip("link show dpdk0 status", FakeTransport(link_show=[NIC]))
    assert outcome.status == 1
    assert outcome.err == "dpip: not support: dpdk0 is not a bonding device\n"


CPU_STATS = {
    "lcore_loop": 123456,
    "pktburst": 2000,
    "zpktburst": 1900,
    "fpktburst": 3,
    "z2hpktburst": 1995,
    "h2fpktburst": 5,
    "dropped": 0,
    "ipackets": 150,
    "ibytes": 9600,
    "opackets": 140,
    "obytes": 0,
}


def core(number: int, role: str, *queues: str) -> dict:
    return {
        "id": number,
        "cpu": number,
        "socket": 0,
        "role": role,
        "queues": list(queues),
        "stats": CPU_STATS,
    }


CORES = sample("""\
<< Controll Plane >>
1: cpu0: socket 0
    queues none
<< Data Plane >>
2: cpu1: socket 0
    queues dpdk0:rx0       dpdk0:tx0       dpdk1:rx0       dpdk1:tx0       |
<< Isolate RX Lcores >>
10: cpu9: socket 0
    queues dpdk0:rx0(0/1048575)            |
""")
CORE_COUNTERS = sample("""\
    lcore_loop          pktburst            zpktburst           fpktburst           |
    123456              2000                1900                3                   |
    z2hpktburst         h2fpktburst         dropped             |
    1995                5                   0                   |
    ipackets            ibytes              opackets            obytes              |
    150                 9600                140                 0                   |
""")
CORE_RATES = sample("""\
    lcore_loop/lps  pktburst/nps    zpktburst/nps   fpktburst/nps   |
    0               0               0               0               |
    z2hpktburst/nps h2fpktburst/nps dropped/nps     |
    0               0               0               |
    ipackets/pps    ibytes/Bps      opackets/pps    obytes/Bps      |
    0               0               0               0               |
""")
WORKER = core(1, "worker", "dpdk0:rx0", "dpdk0:tx0", "dpdk1:rx0", "dpdk1:tx0")


def test_cores():
    rows = [core(9, "isolate_rx", "dpdk0:rx0(0/1048575)"), WORKER, core(0, "master")]
    outcome = run_dpip("link show cpu", FakeTransport(cpu_show=rows))
    assert outcome.out == CORES
    assert outcome.only_call == ("cpu.show", {"cpu": None, "stats": False})


def test_one_core():
    outcome = run_dpip("-s link show cpu1", FakeTransport(cpu_show=[WORKER]))
    lines = CORES.splitlines(keepends=True)
    assert outcome.out == "".join(lines[4:6]) + CORE_COUNTERS
    assert outcome.only_call == ("cpu.show", {"cpu": 1, "stats": True})
    outcome = run_dpip("-s link show cpu1 -i 5 -c 1 -v", FakeTransport(cpu_show=[WORKER]))
    assert outcome.out == "".join(lines[4:6]) + CORE_RATES


@pytest.mark.parametrize(
    ("item", "value", "sent"),
    [
        ("promisc", "on", "on"),
        ("allmulticast", "off", "off"),
        ("forward2kni", "on", "on"),
        ("lldp", "off", "off"),
        ("tc-egress", "on", "on"),
        ("tc-ingress", "off", "off"),
        ("link", "up", "up"),
        ("link", "down", "down"),
        ("addr", "90:E2:BA:1:22:33", "90:e2:ba:01:22:33"),
        ("bond-mode", "6", "6"),
        ("bond-primary", "dpdk1", "dpdk1"),
        ("bond-xmit-policy", "LAYER23", "layer23"),
        ("bond-monitor-interval", "100", "100"),
        ("bond-link-down-prop", "0", "0"),
        ("bond-link-up-prop", "7", "7"),
    ],
)
def test_link_set(item, value, sent):
    outcome = run_dpip(f"link set dpdk0 {item} {value}")
    assert outcome.status == 0
    assert outcome.only_call == ("link.set", {"dev": "dpdk0", "item": item, "value": sent})


@pytest.mark.parametrize("command", ["add", "del"])
def test_bond_slaves(command):
    outcome = run_dpip(f"link {command} bond0 bond-slave dpdk1")
    fields = {"dev": "bond0", "item": "bond-slave", "value": "dpdk1"}
    assert outcome.only_call == (f"link.{command}", fields)


@pytest.mark.parametrize(
    "command", ["link set d9 promisc on", "link add b0 bond-slave d9", "link show d9"]
)
def test_refusal_of_the_daemon_is_seen_in_the_status(command):
    fault = ControlError(-27, "no such device", "d9")
    run_dpip(command, FakeTransport(fault)).assert_one_line_error(1, "dpip: no such device: d9\n")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("link show d9", "dpip: no such device: d9\n"),
        ("link show cpu9", "dpip: not exist: no worker has the number 9\n"),
    ],
)
def test_nothing_by_that_name(command, message):
    run_dpip(command, FakeTransport([])).assert_one_line_error(1, message)
