"""The master's control plane: authoritative state, its replication stream, and the API server.

Nothing here touches DPDK or compiled code. `state.ControlState` owns what an operator configured;
`replication` says how workers are told about it; `providers` lists what the daemon plugs in;
`dispatch` and `server` answer requests in-process and over the Unix socket.
"""
