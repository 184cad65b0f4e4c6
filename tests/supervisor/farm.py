"""An app for the tests of several processes."""

import os
import sys
import time
from pathlib import Path

from taskq import App, JobContext

if how := os.environ.get("TASKQ_TEST_IMPORT"):
    if how == "raises":
        raise RuntimeError("a bug in the module")
    os._exit(int(how))

app = App(worker_defaults={"name": "farm"})


@app.task(name="who", pass_context=True, store_result=True)
def who(context: JobContext) -> str:
    time.sleep(0.05)
    return f"{context.worker_name} {os.getpid()}"


@app.task(name="hold")
def hold(file: Path) -> None:
    """Run until there is a file."""
    file.with_suffix(".begun").touch()
    while not file.exists():
        time.sleep(0.01)


@app.task(name="leave")
def leave(code: int) -> None:
    """End the process; with 0 as a program ends that has done what it was to."""
    if code:
        os._exit(code)
    sys.exit()
