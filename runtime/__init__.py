"""What knows nothing of networking: memory, messages, timers, processes, configuration, logs."""
