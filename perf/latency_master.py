"""The master of ``latency``: the daemon's own, whose worker is perf/latency_worker.py."""

from __future__ import annotations

from typing import Any

from runtime.supervise_process import WorkerSpec
from tools.daemon import main as daemon
from tools.daemon import master


def _spec(**fields: Any) -> WorkerSpec:
    return WorkerSpec(**{**fields, "module": "perf.latency_worker"})


def main() -> int:
    """As tools.daemon.main."""
    master.WorkerSpec = _spec  # type: ignore[misc,assignment]
    return daemon.main()


if __name__ == "__main__":
    raise SystemExit(main())
