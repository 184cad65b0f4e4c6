"""``python -m taskq``: the command line."""

from taskq.cli.program import main

main()
