"""Reading a whole dpvs.conf: defaults, our additions, operators' existing files, warnings."""

from pathlib import Path

import pytest

from runtime.config_report import ConfigError
from tools.settings import Settings, load, loads, read_text
from tools.settings_port import (
    MemifPort,
    NullPort,
    PcapPort,
    PciPort,
    RingPort,
    TapPort,
    VdevPort,
)

# A file as operators of the C program have it: decorations, retired blocks, several spellings.
EXISTING = """\
! two arms
global_defs {
    #daemon
    log_level   WARNING  <none>
    log_file    /var/log/dpvs.log
    <init> log_async_mode  on
    <init> kni  on <on, on/off>
}
netif_defs {
    <init> pktpool_size     1048575 <65535, 1023-134217728>
    <init> pktpool_cache    256
    <init> fdir_mode        perfect
    <init> device dpdk0 {
        rx {
            #max_burst_size 32
            queue_number       2
            descriptor_number  1000 <256, 16-8192>
            rss                all
        }
        tx {
            queue_number       2
            descriptor_number  1024
        }
        fdir {
            mode    perfect
            status  matched
        }
    !   mtu 1500
        promisc_mode  <disable>
        kni_name      dpdk0.kni
    }
    <init> device dpdk1 {
        rx {
            queue_number  2
            rss           ip|tcp
        }
        tx {
            queue_number  2
        }
    }
}
worker_defs {
    <init> worker cpu0 {
        type   master
        cpu_id 0   runs the control plane
    }
    <init> worker cpu2 {
        type   slave
        cpu_id 2
        port   dpdk0 {
            rx_queue_ids 1
            tx_queue_ids 1
        }
        port   dpdk1 {
            rx_queue_ids 1
            tx_queue_ids 1
        }
    }
    <init> worker cpu1 {
        type   slave
        cpu_id 1
        port   dpdk0 {
            rx_queue_ids 0
            tx_queue_ids 0
            ! isol_rx_cpu_ids 9
        }
        port   dpdk1 {
            rx_queue_ids 0
            tx_queue_ids 0
        }
    }
}
timer_defs {
    schedule_interval 500
}
neigh_defs {
    <init> unres_queue_length 128
    <init> timeout 60
}
ipv6_defs {
    disable off
    route6 {
        <init> method "hlist" <"hlist"/"lpm">
    }
}
ctrl_defs {
    lcore_msg {
        <init> ring_size    4096
        sync_msg_timeout_us 20000
    }
    ipc_msg {
        <init> unix_domain /var/run/dpvs_ctrl
    }
}
ipvs_defs {
    conn {
        <init> conn_pool_size 2097152
    }
    udp {
        defence_udp_drop
        timeout {              <1-31535999>
            last 3
        }
    }
    tcp {
        timeout {
            established 91
        }
        synproxy {
            synack_options {
                mss 1452
                sack
            }
            max_ack_saved 3
        }
    }
}
sa_pool {
    pool_hash_size 16
}
"""
CARDS = ("0000:01:00.0", "01:00.1")

DEVICE = "netif_defs {\n device dpdk0 {\n  port null\n }\n}\n"


def test_existing_file_starts_with_warnings() -> None:
    loaded = loads(EXISTING, "/etc/dpvs.conf", cpus=range(3), pci_allow=CARDS)
    settings = loaded.settings
    assert settings.global_defs.log_level == "WARNING"
    dpdk0, dpdk1 = settings.devices
    assert (dpdk0.port, dpdk1.port) == (PciPort("0000:01:00.0"), PciPort("0000:01:00.1"))
    assert (dpdk0.rx.descriptor_number, dpdk0.promisc_mode) == (512, True)
    assert (dpdk0.rx.rss, dpdk1.rx.rss) == (("ip", "tcp", "udp"), ("ip", "tcp"))
    assert [worker.cpu_id for worker in settings.worker_defs.forwarding] == [1, 2]
    assert settings.worker_defs.master is settings.worker_defs.workers[0]
    assert settings.ipvs_defs.conn.connections_per_worker == 2097151
    assert settings.ipvs_defs.tcp.timeout.established == 91
    assert settings.ipvs_defs.udp.timeout.last == 3
    assert [str(warning) for warning in loaded.warnings] == [
        "/etc/dpvs.conf:7: global_defs: 'kni' has no effect: not supported in this release",
        "/etc/dpvs.conf:24: netif_defs/device dpdk0: 'fdir' is ignored: "
        "no flow director tables are used",
        "/etc/dpvs.conf:45: worker_defs/worker cpu0: 'cpu_id': ignored text "
        "'runs the control plane'",
        "/etc/dpvs.conf:82: ipv6_defs: 'route6' has no effect: "
        "route_table_size is all the table needs",
        "/etc/dpvs.conf:91: ctrl_defs: 'ipc_msg' is ignored: "
        "the command line names the control socket",
        "/etc/dpvs.conf:109: ipvs_defs/tcp: 'synproxy' has no effect: "
        "the SYN proxy is not supported in this release",
    ]


def test_a_ttl_that_is_not_used_is_said_to_be_so() -> None:
    texts = [f"{DEVICE}ipv4_defs {{\n default_ttl {ttl}\n}}\n" for ttl in (64, 100)]
    assert loads(texts[0], "f").warnings == loads(DEVICE, "f").warnings
    *_, warning = loads(texts[1], "f").warnings
    assert str(warning) == "f:7: ipv4_defs: 'default_ttl' has no effect: it is always 64"


def test_defaults_are_those_of_the_reference() -> None:
    settings = Settings()
    assert settings.global_defs.log_level == "INFO"
    assert settings.netif_defs.pktpool_size == 65535
    assert settings.netif_defs.pktpool_cache == 256
    assert settings.timer_defs.schedule_interval == 10
    assert settings.neigh_defs.timeout == 60
    assert settings.neigh_defs.unres_queue_length == 128
    assert settings.ctrl_defs.lcore_msg.sync_msg_timeout_us == 2000
    assert settings.ipvs_defs.conn.conn_pool_size == 2097151
    assert settings.ipvs_defs.conn.conn_init_timeout == 3
    assert settings.ipvs_defs.tcp.timeout.listen == 120
    assert settings.ipvs_defs.udp.timeout.normal == 300
    assert settings.ipvs_defs.tcp.synproxy.synack_options.sack
    assert settings.sa_pool.pool_hash_size == 16
    assert settings.sa_pool.flow_enable


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("pci 0000:01:00.0", PciPort("0000:01:00.0")),
        ("pci 3B:00.1", PciPort("0000:3b:00.1")),
        ("tap", TapPort()),
        ("tap iface=dtap0 mac=02:AA:00:00:00:01", TapPort("dtap0", "02:aa:00:00:00:01")),
        ("pcap rx=in.pcap tx=/tmp/out.pcap", PcapPort("in.pcap", "/tmp/out.pcap")),
        ("pcap tx=o rx=i infinite", PcapPort("i", "o", True)),
        ("null", NullPort(64, 0)),
        ("null size=1500 copy=1", NullPort(1500, 1)),
        ("ring", RingPort()),
        ("memif id=3 role=server socket=/run/m", MemifPort("/run/m", 3, "server")),
        ("vdev net_null0,size=64", VdevPort("net_null0,size=64")),
        ('vdev "net_pcap0,rx_pcap=a b"', VdevPort("net_pcap0,rx_pcap=a b")),
    ],
)
def test_ports(text: str, port: object) -> None:
    settings = read_text(f"netif_defs {{\n device d {{\n port {text}\n }}\n}}")
    assert settings.netif_defs.devices[0].port == port


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "missing value of 'port'"),
        ("nic", "'nic' is not one of pci, tap, pcap, null, ring, memif, vdev"),
        ("pci", "'pci' takes one argument"),
        ("pci eth0", "'eth0' is not a PCI address such as 0000:01:00.0"),
        ("tap dev=x", "'dev=x' is unknown, allowed: iface=... mac=..."),
        ("tap iface=", "'iface=' should be iface=..."),
        ("tap iface", "'iface' should be iface=..."),
        ("tap iface=a iface=b", "'iface' is given twice"),
        ("tap iface=sixteencharacters", "iface: 'sixteencharacters' is not an interface name"),
        ("tap mac=2", "mac: '2' is not a MAC address"),
        ("tap mac=01:00:00:00:00:01", "is a multicast address"),
        ("pcap rx=a", "'tx=...' is missing"),
        ("pcap rx=a tx=b infinite=1", "'infinite=1' should be infinite"),
        ("pcap rx=a,b tx=c", "rx: 'a,b' is not a file name"),
        ("null size=1", "size: 1 is out of range 14-9018"),
        ("ring x", "'x' is unknown, allowed: nothing"),
        ("memif role=boss", "role: 'boss' is not server or client"),
        ("vdev crypto_null0", "'crypto_null0' is not a DPDK network device"),
    ],
)
def test_bad_ports(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_text(f"netif_defs {{\n device d {{\n port {text}\n }}\n}}")
    assert str(caught.value).startswith("dpvs.conf:3: netif_defs/device d: ")
    assert error in str(caught.value)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("text", "types"),
    [("all", ("ip", "tcp", "udp")), ("off", ()), ("TCP", ("tcp",)), ("udp | ip", ("ip", "udp"))],
)
def test_rss(text: str, types: tuple[str, ...]) -> None:
    settings = read_text(f"netif_defs {{\n device d {{\n rx {{\n rss {text}\n }}\n }}\n}}")
    rx = settings.netif_defs.devices[0].rx
    assert (rx.rss, rx.rss_known) == (types, bool(types))


@pytest.mark.parametrize("text", ["tcp|off", "ipv4", "|", "tcp,udp"])
def test_bad_rss(text: str) -> None:
    with pytest.raises(ConfigError, match=r"rss: '.*' is not one of all, off, ip"):
        read_text(f"netif_defs {{\n device d {{\n rx {{\n rss {text}\n }}\n }}\n}}")


@pytest.mark.parametrize(
    ("word", "level"),
    [("INFO", "INFO"), ("WARN", "WARNING"), ("error", "ERR"), ("CRITICAL", "CRIT")],
)
def test_log_level(word: str, level: str) -> None:
    assert read_text(f"global_defs {{\nlog_level {word}\n}}").global_defs.log_level == level


@pytest.mark.parametrize(
    "line",
    ["log_level LOUD", "log_level E", "name a/b", "name ..", "hugepages -1", "memory 1G", "huge 1"],
)
def test_bad_global_values(line: str) -> None:
    with pytest.raises(ConfigError, match=r"^dpvs\.conf:2: global_defs: "):
        read_text(f"global_defs {{\n{line}\n}}")


def test_table_size_wins_over_pool_size() -> None:
    text = "ipvs_defs {\n conn {\n conn_pool_size 100000\n conn_table_size 1000\n }\n}"
    conn = read_text(text).ipvs_defs.conn
    assert (conn.conn_pool_size, conn.connections_per_worker) == (65535, 1000)


def test_commands_are_kept_verbatim_with_their_lines() -> None:
    text = DEVICE + (
        "commands {\n"
        "  dpip addr add 192.0.2.1/24 dev dpdk0   # ours\n"
        "\n"
        "  ! service\n"
        "  ipvsadm -A -t 192.0.2.10:80 -s rr\n"
        "}\n"
    )
    commands = loads(text).settings.commands
    assert [(c.text, str(c.origin)) for c in commands] == [
        ("dpip addr add 192.0.2.1/24 dev dpdk0", "dpvs.conf:7"),
        ("ipvsadm -A -t 192.0.2.10:80 -s rr", "dpvs.conf:10"),
    ]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("rm -rf /", "'rm -rf /' is neither a dpip nor an ipvsadm command"),
        ("dpip", "'dpip' is neither a dpip nor an ipvsadm command"),
        ("ipvsadm 'x", "'ipvsadm 'x': no closing quotation"),
    ],
)
def test_bad_commands(line: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(f"{DEVICE}commands {{\n{line}\n}}\n")
    assert str(caught.value) == f"dpvs.conf:7: commands: {error}"


def test_all_errors_of_a_file_come_together() -> None:
    text = EXISTING.replace("schedule_interval 500", "schedule_interval 0").replace(
        "last 3", "lost 3"
    )
    text = text.replace("rx_queue_ids 1", "rx_queue_ids 0")  # compared although others are wrong
    with pytest.raises(ConfigError) as caught:
        loads(text, pci_allow=CARDS)
    found = [str(problem) for problem in caught.value.problems]
    assert any("schedule_interval: 0 is out of range" in line for line in found)
    assert any("unknown keyword 'lost' (did you mean 'last'?)" in line for line in found)
    assert any("rx queue 0 is already that of worker" in line for line in found)


def test_load_reads_files(tmp_path: Path) -> None:
    main = tmp_path / "dpvs.conf"
    main.write_text(f"{DEVICE}include extra.conf\n")
    (tmp_path / "extra.conf").write_text("neigh_defs {\n timeout 7\n}\n")
    assert load(str(main)).settings.neigh_defs.timeout == 7
    (tmp_path / "extra.conf").write_text("neigh_defs {\n timeout 0\n}\n")
    with pytest.raises(ConfigError, match=r"extra\.conf:2: neigh_defs: timeout: 0 is out of range"):
        load(str(main))
    with pytest.raises(ConfigError, match="no such file"):
        load(str(tmp_path / "none.conf"))
