"""The daemon: master process, worker processes, and running the path over files."""
