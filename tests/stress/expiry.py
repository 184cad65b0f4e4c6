"""Check: a job that has not begun by its time never begins, and one that has begun does not expire.

A claim goes by the time at which its transaction began, by the server's clock, and leaves the job's own as it
is: the version that it writes has both. That such jobs end, and as what, is for ``ends`` and ``waiting``.
"""

from collections.abc import Iterator, Sequence

from tests.stress.log import Log, Version, Violation
from tests.stress.scripts import step_of


def expiry(log: Log) -> list[Violation]:
    """No job is claimed after its time, and none keeps it that is to run again."""
    return [Violation("expiry", text) for text in _expiry(log)]


def _expiry(log: Log) -> Iterator[str]:
    for tenure in log.tenures.values():
        began, ended, run = tenure.began, tenure.ended, log.run_of(tenure)
        if began.is_late(began.began):
            yield f"it was claimed after its time: {began}"
        if (
            ended is not None
            and ended.status == "todo"
            and ended.expires_at is not None
            and run is not None
            and run.step == step_of(began.script, began.claim)
            and not log.was_disturbed(tenure)
        ):
            yield f"it has begun, and expires still: {ended}"


def expired(log: Log) -> Sequence[Version]:
    """The jobs that workers have ended as they had not begun by their time."""
    return [
        version
        for version in log.versions
        if version.status == "cancelled" and version.process.startswith("worker")
    ]
