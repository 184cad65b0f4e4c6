"""The command line: one module per command, and ``program``, which puts them together."""
