"""The commands of the project: the daemon, and the tools that talk to it."""
