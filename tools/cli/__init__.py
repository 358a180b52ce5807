"""The parts of the command line tools: argument grammars, requests, and output formats."""
