"""Assemble a worker's packet path inside a process whose EAL runs: ports, table, rings, RSS."""

from __future__ import annotations

import ctypes

import ipvs.loop  # noqa: F401 (the outermost function: the cache is complete with it)
from ipvs import rss, table
from ipvs.apply import Applier
from ipvs.context import Ipvs
from ipvs.control import Control
from ipvs.worker import Worker
from netdev import eal, tap
from netdev.abi import FastPathStruct
from netdev.eal import DpdkError
from runtime import pointer_ring
from tools.daemon import plan
from tools.daemon.job import WorkerJob

FAST_SIZE = ctypes.sizeof(FastPathStruct)


def _attach_ports(worker: Worker, job: WorkerJob) -> None:
    base = eal.address_of("ethdev", "rte_eth_fp_ops")
    w = Ipvs(worker.address)
    for port in job.ports:
        fast = base + port.dpdk_port * FAST_SIZE
        index = worker.add_port(fast, port.mac, port.rx_queue, port.tx_queue, port.mtu)
        if port.reta:
            rss.set_indirection(w.rss, index, port.reta)
    if any(port.reta for port in job.ports):
        rss.fill_tables(w.rss, bytes.fromhex(job.rss_key))


def _attach_calls(worker: Worker) -> None:
    pool = eal.pool_find(plan.POOL)
    if not pool:
        raise DpdkError(f"mbuf pool {plan.POOL} not found: is the master running?")
    free_bulk = eal.address_of("mbuf", "rte_pktmbuf_free_bulk")
    worker.set_calls(pool, eal.pool_dequeue(pool), free_bulk)
    Control(Ipvs(worker.address).control).sleep = eal.address_of("eal", "rte_delay_us_sleep")


def _attach_waits(worker: Worker, job: WorkerJob) -> None:
    """Let the worker wait for packets of its taps, if it may sleep."""
    control = Control(Ipvs(worker.address).control)
    control.idle_sleep_us = job.idle_sleep_us
    waits = tap.poll_set([(p.tap, p.rx_queue) for p in job.ports if p.tap and p.rx_queue >= 0])
    # Ports of another kind are to be looked at too: there, sleeping ends by the clock only.
    if len(waits) == sum(port.rx_queue >= 0 for port in job.ports):
        control.wait_set = worker.memory.take(ctypes.sizeof(waits))
        ctypes.memmove(control.wait_set, waits, ctypes.sizeof(waits))
        control.ppoll, control.wait_count = tap.ppoll_address(), len(waits)


def _attach_rings(worker: Worker, job: WorkerJob) -> None:
    w = Ipvs(worker.address)
    for other in range(job.count):
        if other == job.index:
            continue
        for field, zone in (
            (w.out_rings, plan.handover_zone(job.index, other)),
            (w.in_rings, plan.handover_zone(other, job.index)),
        ):
            found = eal.memzone_find(zone)
            if found is None or not pointer_ring.is_valid(found[0], plan.HANDOVER_SLOTS):
                raise DpdkError(f"hand-over ring {zone} not found")
            field[other] = found[0]


def reserve(workers: int, capacity: int) -> None:
    """In the primary: reserve the tables and rings of all workers.  Raises DpdkError."""
    for index in range(workers):
        eal.memzone_reserve(plan.connections_zone(index), table.table_bytes(capacity))
        for other in range(workers):
            if other != index:
                size = pointer_ring.size_bytes(plan.HANDOVER_SLOTS)
                ring = eal.memzone_reserve(plan.handover_zone(index, other), size, 128)
                pointer_ring.initialise(ring, plan.HANDOVER_SLOTS)


def build(job: WorkerJob, shared: int, templates: int) -> Applier:
    """The worker of ``job`` over the shared block at ``shared``, ready for records and polling.

    ``templates``: address of the table of templates.

    Raises DpdkError when something the master should have made is missing.
    """
    worker = Worker(
        job.index, job.count, shared, eal.tsc_hz(), routes=job.routes, routes6=job.routes6
    )
    _attach_calls(worker)
    _attach_ports(worker, job)
    zone = eal.memzone_find(plan.connections_zone(job.index))
    if zone is None:
        raise DpdkError(f"connection table of worker {job.index} not found")
    worker.attach_templates(templates)
    worker.attach_table(*zone, job.capacity)
    _attach_rings(worker, job)
    _attach_waits(worker, job)
    return Applier(worker, job.replicas)
