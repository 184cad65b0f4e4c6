"""A worker in a process of its own; its options come from the environment."""

import logging
import sys

from taskq import queries
from tests.stress.children import end_with_the_parent
from tests.stress.tasks import app

# Read by ``logs``.
FORMAT = "%(created)f %(levelname)s %(action)s %(message)s"


def main() -> None:
    end_with_the_parent()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT, defaults={"action": "-"}))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # It would find a lost wake-up in the end, and hide it.
    queries.job_rescue.open_forgotten_gates = lambda *_: ("", "")
    app.run_worker()


if __name__ == "__main__":
    main()
