"""A job as the command line shows it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from taskq.job import Job, JobStatus

STYLES = {
    JobStatus.TODO: "",
    JobStatus.DOING: "cyan",
    JobStatus.SUCCEEDED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "dim",
    JobStatus.ABORTED: "magenta",
}


def record(job: Job) -> Mapping[str, Any]:
    """What JSON says of a job: its attributes, by their names."""
    return asdict(job)
