"""Rules between blocks: devices, workers, queues, cpus; what is derived when left out."""

import pytest

from runtime.config_report import ConfigError
from tools.settings import loads
from tools.settings_port import PciPort

MASTER = "worker m {\n type master\n cpu_id 0\n}\n"


def device(name: str, port: str = "port null", more: str = "") -> str:
    return f"device {name} {{\n{port}\n{more}\n}}\n"


def worker(cpu: int, ports: dict[str, tuple[str, str]], kind: str = "slave", name: str = "") -> str:
    queues = "".join(
        f"port {port} {{\n"
        + (f"rx_queue_ids {rx}\n" if rx else "")
        + (f"tx_queue_ids {tx}\n" if tx else "")
        + "}\n"
        for port, (rx, tx) in ports.items()
    )
    return f"worker {name or f'w{cpu}'} {{\n type {kind}\n cpu_id {cpu}\n{queues}}}\n"


def conf(devices: str, workers: str, extra: str = "") -> str:
    text = f"netif_defs {{\n{devices}}}\n{extra}"
    return text + f"worker_defs {{\n{workers}}}\n" if workers else text


def errors(text: str, **given: object) -> str:
    try:
        loads(text, "f", **given)  # type: ignore[arg-type]
    except ConfigError as error:
        return str(error)
    return ""


ONE = device("d0")
TWO = device("d0") + device("d1")
Q0, Q1 = ("0", "0"), ("1", "1")


def test_good() -> None:
    text = conf(TWO, MASTER + worker(1, {"d0": Q0, "d1": Q0}) + worker(2, {"d0": Q1, "d1": Q1}))
    assert errors(text, cpus={0, 1, 2}) == ""


@pytest.mark.parametrize(
    ("workers", "error"),
    [
        (worker(1, {"d0": Q0}), "worker_defs: no worker has type master"),
        (MASTER, "no worker of type slave serves a port"),
        (
            MASTER + worker(3, {}, "master") + worker(1, {"d0": Q0}),
            "worker w3: a second master (the first is m)",
        ),
        (MASTER + worker(1, {"d0": Q0}) + worker(1, {"d0": Q1}, name="x"), "cpu 1 is also that of"),
        (MASTER + worker(9, {"d0": Q0}), "cpu 9 is not usable on this host (usable: 0, 1, 2, 3)"),
        (MASTER + worker(1, {"d9": Q0}), "port d9: no such device to serve (there are: d0)"),
        (MASTER + worker(1, {"d0": ("0", "")}), "port d0: missing 'tx_queue_ids'"),
        (
            MASTER + worker(1, {"d0": Q0}) + worker(2, {"d0": ("0", "1")}),
            "worker w2/port d0: rx queue 0 is already that of worker w1",
        ),
        (MASTER + worker(1, {"d0": ("0", "1")}), "no worker has tx queue 0 of device d0"),
        (MASTER + worker(1, {"d0": ("0 2", "0")}), "no worker has rx queue 1 of device d0"),
        (
            MASTER + worker(1, {"d0": Q0}) + worker(2, {"d0": Q1}, name="w1"),
            "worker w1: the name is used twice (first at f:",
        ),
        (
            worker(0, {"d0": Q0}, "master") + worker(1, {"d0": Q1}),
            "worker w0: the master serves no port",
        ),
        (
            MASTER + worker(1, {"d0": Q0}).replace("type slave", ""),
            "worker w1: missing 'type'",
        ),
    ],
)
def test_worker_errors(workers: str, error: str) -> None:
    assert error in errors(conf(ONE, workers), cpus={0, 1, 2, 3})


def test_a_worker_serves_all_devices() -> None:
    text = conf(TWO, MASTER + worker(1, {"d0": Q0}))
    assert "worker w1: missing port d1: a worker serves all devices or none" in errors(text)


def test_port_twice() -> None:
    text = conf(ONE, MASTER + worker(1, {"d0": Q0, "d0 ": Q1}))
    assert "the port stands twice in this worker" in errors(text)


@pytest.mark.parametrize(
    ("devices", "error"),
    [
        ("", "f: netif_defs: no device is configured"),
        (ONE + ONE, "device d0: the name is used twice (first at f:2)"),
        (device("sixteencharacter"), "'sixteencharacter' is not a device name"),
        (device('"a b"'), "'a b' is not a device name"),
        (
            device("a", "port pci 01:00.0") + device("b", "port pci 0000:01:00.0"),
            "device b: card 0000:01:00.0 is already used by device a",
        ),
        (
            device("a", "port tap iface=t") + device("b", "port tap iface=t"),
            "device b: tap interface t is already used by device a",
        ),
        (device("a", ""), "device a: no card left: add a 'port' line"),
        (ONE + "bonding b0 {\n}\n", "bonding b0: missing 'slave'"),
        (ONE + "bonding b0 {\n slave x\n}\n", "bonding b0: slave x is not a device"),
        (ONE + "bonding b0 {\n slave d0\n slave d0\n}\n", "slave d0 is named twice"),
        (ONE + "bonding b0 {\n slave d0\n primary d1\n}\n", "primary d1 is not one of its slaves"),
        (ONE + "bonding d0 {\n slave d0\n}\n", "bonding d0: the name is used twice"),
    ],
)
def test_device_errors(devices: str, error: str) -> None:
    assert error in errors(conf(devices, ""))


def test_limits_of_protocols() -> None:
    many = "ipv4_defs {\n fragment {\n max_entries 409600\n }\n}\n"
    assert "max_entries 409600 exceeds bucket_number x bucket_entries = 65536" in errors(
        conf(ONE, "", many)
    )
    secret = "ipv6_defs {\n addr_gen_mode stable-privacy\n}\n"
    assert "needs stable_secret" in errors(conf(ONE, "", secret))


def test_cards_are_taken_in_order() -> None:
    devices = device("a", "") + device("b", "port pci 0000:05:00.1") + device("c", "")
    allow = "global_defs {\n pci_allow 05:00.1\n pci_allow 05:00.2\n}\n"
    settings = loads(conf(devices, "", allow), pci_allow=["05:00.0"]).settings
    assert [dev.port for dev in settings.devices] == [
        PciPort("0000:05:00.0"),
        PciPort("0000:05:00.1"),
        PciPort("0000:05:00.2"),
    ]
    assert "allowed card: 'eth0' is not a PCI address" in errors(conf(ONE, ""), pci_allow=["eth0"])


def test_derived_workers() -> None:
    devices = device("a", more="rx {\n queue_number 2\n}") + device("b")
    loaded = loads(conf(devices, ""), cpus={4, 5, 6})
    workers = loaded.settings.worker_defs
    assert loaded.warnings == ()
    assert workers.master is not None
    assert workers.master.cpu_id == 4
    first, second = workers.forwarding
    assert (first.cpu_id, second.cpu_id) == (5, 6)
    queues = [(p.name, p.rx_queue_ids, p.tx_queue_ids) for p in first.ports + second.ports]
    assert queues == [
        ("a", (0,), (0,)),
        ("b", (0,), (0,)),
        ("a", (1,), (1,)),
        ("b", (), (1,)),
    ]


def test_derived_workers_on_few_cpus() -> None:
    text = conf(device("a", more="rx {\n queue_number 3\n}"), "")
    assert "3 receive queues need 3 cpus, this host offers 2" in errors(text, cpus={0, 1})
    assert [str(w) for w in loads(text, "f", cpus={0, 1, 2}).warnings] == [
        "f: worker_defs/worker cpu0: cpu 0 is also that of worker worker3"
    ]
    relaxed = "global_defs {\n cpu_isolation off\n}\n" + text
    assert [w.cpu_id for w in loads(relaxed, cpus={0, 1}).settings.worker_defs.forwarding] == [
        0,
        1,
        1,
    ]


def test_shared_cpu_is_a_warning_where_isolation_is_off() -> None:
    workers = MASTER + worker(1, {"d0": Q0}) + worker(1, {"d0": Q1}, name="x")
    text = conf(ONE, workers, "global_defs {\n cpu_isolation off\n}\n")
    assert [w.text for w in loads(text).warnings] == ["cpu 1 is also that of worker w1"]


def test_more_queues_than_declared_is_a_warning() -> None:
    devices = device("d0", more="rx {\n queue_number 1\n}")
    workers = MASTER + worker(1, {"d0": Q0}) + worker(2, {"d0": Q1})
    assert [w.text for w in loads(conf(devices, workers)).warnings] == [
        "workers use 2 queues, rx queue_number says 1"
    ]


def test_kni_worker_is_left_idle() -> None:
    workers = MASTER + worker(1, {"d0": Q0}) + worker(2, {"d0": ("", "1")}, "kni")
    loaded = loads(conf(ONE, workers))
    assert [w.cpu_id for w in loaded.settings.worker_defs.forwarding] == [1]
    assert "kni workers are not supported" in loaded.warnings[0].text


def test_bond_is_its_primary_member() -> None:
    devices = (
        device("d0", "port pci 01:00.0")
        + device("d1", "port pci 01:00.1", "mtu 9000")
        + device("d2")
        + "bonding bond0 {\n mode 4\n slave d0\n slave d1\n primary d1\n options x=y\n}\n"
    )
    text = conf(devices, MASTER + worker(1, {"d2": Q0, "bond0": Q0}))
    loaded = loads(text)
    assert [(d.name, d.mtu) for d in loaded.settings.devices] == [("d2", 1500), ("bond0", 9000)]
    assert loaded.settings.devices[1].port == PciPort("0000:01:00.1")
    assert "the bond is its primary member alone" in loaded.warnings[0].text
