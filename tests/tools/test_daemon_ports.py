"""The master's description of ports for its workers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tools import settings
from tools.daemon.plan import ports_of
from tools.daemon.ports import StartedPort, port_jobs

CONFIG = """\
netif_defs {{
    device dpdk0 {{
        port tap iface=t0
        rx {{
            queue_number 2
        }}
        tx {{
            queue_number 2
        }}
    }}
}}
worker_defs {{
    worker master {{
        type master
        cpu_id 0
    }}
    worker a {{
        type slave
        cpu_id {first}
        port dpdk0 {{
            rx_queue_ids 0
            tx_queue_ids 0
        }}
    }}
    worker b {{
        type slave
        cpu_id {second}
        port dpdk0 {{
            rx_queue_ids 1
            tx_queue_ids 1
        }}
    }}
}}
"""


def jobs(tmp_path: Path, first: int, second: int) -> list[Any]:
    """The port as each worker is told of it; the card deals its hash out to queues 0, 1, 0, 1."""
    file = tmp_path / "dpvs.conf"
    file.write_text(CONFIG.format(first=first, second=second))
    loaded = settings.load(str(file)).settings
    info: Any = SimpleNamespace(mac="02:00:00:00:00:01")
    started = [StartedPort(ports_of(loaded)[0], 0, info, [0, 1] * 2)]
    return [port_jobs(loaded, started, worker)[0] for worker in (0, 1)]


def test_table_names_the_worker_that_polls_the_queue(tmp_path: Path) -> None:
    """Workers are numbered by cpu, and queues as the operator likes."""
    straight = jobs(tmp_path, 1, 2)
    assert [(job.rx_queue, job.reta) for job in straight] == [(0, [0, 1, 0, 1]), (1, [0, 1, 0, 1])]
    crossed = jobs(tmp_path, 2, 1)
    assert [(job.rx_queue, job.reta) for job in crossed] == [(1, [1, 0, 1, 0]), (0, [1, 0, 1, 0])]
