"""Benchmarks of the packet path: what it costs, how it scales, and proof that it did the work."""
