"""Ports and queues over DPDK: EAL, mempools, memzones, mbufs, bursts, RSS."""
