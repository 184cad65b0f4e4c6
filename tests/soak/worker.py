"""The worker of the soak, as a process of its own: its memory is what is measured."""

import os
from datetime import timedelta

from taskq.retention import Retention
from taskq.worker.pruner import Pruner
from tests.soak.shop import app

# Seconds; without it jobs are kept for ever.
KEPT = "TASKQ_SOAK_KEPT"


def main() -> None:
    kept = os.environ.get(KEPT)
    retention: Retention = {}
    if kept is not None:
        age = timedelta(seconds=float(kept))
        retention = {"succeeded": age, "failed": age}
        # A round each minute would be one, or none, of the short form.
        assert Pruner.__init__.__kwdefaults__ is not None
        Pruner.__init__.__kwdefaults__["interval"] = min(60.0, float(kept) / 2)
    app.run_worker(concurrency=20, retention=retention)


if __name__ == "__main__":
    main()
