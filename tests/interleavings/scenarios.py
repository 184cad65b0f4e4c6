"""What meets what. Jobs have the ids 1, 2, 3 … in the order in which a scenario defers them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.interleavings.stage import Operation
from tests.model.database import Session, World
from tests.model.rules import End
from tests.model.state import Figures, Job

ONE = Figures(concurrency=1)
TWO = Figures(concurrency=2)
SLOW = Figures(rate=1, pace=1, burst=1)


@dataclass(frozen=True)
class Stage:
    """Where a scenario is set up: nothing else is under way."""

    session: Session
    world: World

    def defer(self, *jobs: Job) -> None:
        """Defer jobs, one after the other."""
        for job in jobs:
            self.session.defer([job], "raise", 0)

    def claim(self, max_jobs: int = 1, worker: int = 1) -> None:
        """Have a worker claim so many."""
        claimed = self.session.claim(worker, None, max_jobs, 1)
        assert len(claimed) == max_jobs

    def wait(self) -> None:
        """An hour later."""
        self.world.move_time(1)


@dataclass(frozen=True)
class Meeting:
    """Operations that are under way at once.

    Attributes:
        name: What meets what.
        set_up: What there was before.
        operations: By their names.
    """

    name: str
    set_up: Callable[[Stage], Any]
    operations: Sequence[str]


def job(**values: Any) -> Job:
    """A job with what differs from a plain one."""
    return replace(Job(id=0, task="t", queue="a"), **values)


def _defer(**values: Any) -> Operation:
    return lambda session: session.defer([job(**values)], "raise", 0)


def _end(status: str, job_id: int = 1, lock: str | None = "x", **values: Any) -> Operation:
    said = End(status, job_id, 1, held_lock=lock, **values)
    return lambda session: session.end(1, [said])


OPERATIONS: dict[str, Operation] = {
    # The worker serves both queues; it takes one, or several.
    "claim": lambda session: session.claim(7, ["a", "b"], 1, 1),
    "claim too": lambda session: session.claim(8, ["a", "b"], 1, 1),
    "claim three": lambda session: session.claim(9, ["a", "b"], 3, 1),
    "claim in b": lambda session: session.claim(6, ["b"], 3, 1),
    "defer": _defer(lock="x"),
    "defer higher": _defer(lock="x", priority=1),
    "defer in b": _defer(lock="x", queue="b"),
    "defer limited": _defer(limit="two"),
    "defer limited in b": _defer(limit="two", queue="b"),
    "defer paced": _defer(limit="slow"),
    "defer limited and locked": _defer(lock="x", limit="two"),
    "defer q": _defer(queueing_lock="q"),
    "defer q too": _defer(queueing_lock="q", priority=1),
    "defer k": _defer(key="k"),
    "defer k too": _defer(key="k", priority=1),
    "replace q": lambda session: session.defer([job(queueing_lock="q", lock="x")], "replace", 0),
    "finish": _end("succeeded"),
    "finish 2": _end("succeeded", 2),
    "finish unlocked": _end("succeeded", lock=None),
    "finish 2 unlocked": _end("succeeded", 2, lock=None),
    "fail": _end("failed"),
    "retry": _end("todo", retry_in=0),
    "retry later": _end("todo", retry_in=1),
    "retry behind": _end("todo", retry_in=0, priority=-1),
    "retry elsewhere": _end("todo", retry_in=0, lock="y"),
    "retry unlocked": _end("todo", lock=None, retry_in=0),
    "give back": _end("todo", keeps_attempt=True, unstarted=True),
    "give back unlocked": _end("todo", lock=None, keeps_attempt=True, unstarted=True),
    "delete": _end("succeeded", deleted=True),
    "cancel": lambda session: session.cancel(1, abort=True, delete_job=False),
    "cancel 2": lambda session: session.cancel(2, abort=True, delete_job=False),
    "delete waiting": lambda session: session.delete(1),
    "put off": lambda session: session.reschedule(1, 1, None, None),
    "bring forward": lambda session: session.reschedule(1, 0, None, None),
    "prefer 2": lambda session: session.reschedule(2, None, None, 1),
    "move to b": lambda session: session.reschedule(1, None, "b", None),
    "retry by hand": lambda session: session.retry(1, 0, None, None),
    "promote": lambda session: session.promote(),
    "promote too": lambda session: session.promote(),
    "rescue": lambda session: session.rescue(),
    "rescue too": lambda session: session.rescue(),
    "lower": lambda session: session.say("two", True, ONE),
    "raise": lambda session: session.say("two", True, TWO),
    "pause queue": lambda session: session.pause("queue", "a"),
    "resume queue": lambda session: session.resume("queue", "a"),
    "pause task": lambda session: session.pause("task", "t"),
    "resume task": lambda session: session.resume("task", "t"),
}


def may_wait(name: str, others: Sequence[str]) -> bool:
    """Whether an operation may wait for the transactions of others: docs/gates.md, Claiming.

    Of rescues at once one does the work, and the others wait for it.
    """
    if name.startswith("rescue"):
        return any(other.startswith("rescue") for other in others if other != name)
    return not name.startswith(("claim", "promote"))


def _held(stage: Stage) -> None:
    """Job 1 of a lock runs."""
    stage.defer(job(lock="x"))
    stage.claim()


def _followed(stage: Stage) -> None:
    """Job 1 of a lock runs, and job 2 waits behind it, with a gate that no claim has come to yet."""
    _held(stage)
    stage.defer(job(lock="x"))


def _failed(stage: Stage) -> None:
    """Job 1 of a lock has failed."""
    _held(stage)
    OPERATIONS["fail"](stage.session)


def _waiting(stage: Stage) -> None:
    """Job 1 of a lock is ready, and job 2 waits behind it."""
    stage.defer(job(lock="x"), job(lock="x"))


def _for_later(stage: Stage) -> None:
    """Job 1 of a lock is for later, and no claim holds it for anything else."""
    stage.defer(job(lock="x", at=1))


def _behind_one_for_later(stage: Stage) -> None:
    stage.defer(job(lock="x", at=1), job(lock="x"))


def _timely(stage: Stage) -> None:
    """The time of job 1 of a lock has come, which nothing has told yet; job 2 waits behind it."""
    _behind_one_for_later(stage)
    stage.wait()


def _late(stage: Stage) -> None:
    """Job 1 of a lock has not begun by its time, which nothing has told yet; job 2 waits behind it."""
    stage.defer(job(lock="x", at=None, expires=1), job(lock="x"))
    stage.wait()


def _dead(stage: Stage) -> None:
    """The worker of job 1 of a lock is dead."""
    stage.world.register(1, 1)
    _held(stage)
    stage.wait()


def _dead_and_followed(stage: Stage) -> None:
    _dead(stage)
    stage.defer(job(lock="x"))


def _two(stage: Stage, **values: Any) -> None:
    stage.session.say("two", False, TWO)
    stage.defer(*[job(limit="two", **values)] * 2)


def _full(stage: Stage) -> None:
    """Two jobs run of a limit that lets two."""
    _two(stage)
    stage.claim(2)


def _full_and_followed(stage: Stage) -> None:
    _full(stage)
    stage.defer(job(limit="two"), job(limit="two", queue="b"))


def _room(stage: Stage) -> None:
    """Three jobs wait of a limit that lets two."""
    _two(stage)
    stage.defer(job(limit="two"))


def _lowered(stage: Stage) -> None:
    """Three jobs wait of a limit that lets one by what an operator has said, and one of them runs."""
    _room(stage)
    stage.session.say("two", True, ONE)
    stage.claim()


def _heads_of_a_limit(stage: Stage) -> None:
    """One job runs of a limit that lets one, and two heads of locks have come to wait for it."""
    stage.session.say("two", False, ONE)
    stage.defer(job(limit="two"))
    stage.claim()
    stage.defer(job(limit="two", lock="x"), job(limit="two", lock="y"))
    assert stage.session.claim(1, None, 5, 1) == []


def _slow(stage: Stage) -> None:
    """Two jobs wait of a limit whose rate lets one start."""
    stage.session.say("slow", False, SLOW)
    stage.defer(job(limit="slow"), job(limit="slow", queue="b"))


def _slow_begun(stage: Stage) -> None:
    _slow(stage)
    stage.claim()


def _slow_again(stage: Stage) -> None:
    """The rate lets the next one start by now, which nothing has told yet."""
    _slow_begun(stage)
    assert stage.session.claim(1, None, 1, 1) == []
    stage.wait()


def _paused(stage: Stage) -> None:
    """The task of all jobs is paused, which no claim has come to yet."""
    stage.defer(job(), job(lock="x"))
    stage.session.pause("task", "t")


def _paused_queue(stage: Stage) -> None:
    _waiting(stage)
    stage.session.pause("queue", "a")


def _q(stage: Stage) -> None:
    """A job with a queueing lock runs."""
    stage.defer(job(queueing_lock="q"))
    stage.claim()


def _limited_queue(stage: Stage) -> None:
    """All jobs of a queue count in a limit that lets two.

    Three wait, and one of the limit in another queue.
    """
    stage.session.say("two", False, TWO)
    stage.session.limit_queue("a", "two")
    stage.defer(job(), job(), job(), job(limit="two", queue="b"))


def _nothing(stage: Stage) -> None:
    """There is nothing yet."""


def _waiting_q(stage: Stage) -> None:
    """A job with a queueing lock waits."""
    stage.defer(job(queueing_lock="q"))


_MEETINGS: Sequence[tuple[Callable[[Stage], None], Sequence[str]]] = (
    # The end of a head, and what comes to wait behind it.
    *((_held, (end, "defer")) for end in ("finish", "fail", "delete", "retry later")),
    *((_held, ("retry", new)) for new in ("defer", "defer higher")),
    (_held, ("retry behind", "defer")),
    (_held, ("retry elsewhere", "defer")),
    (_held, ("finish", "defer in b")),
    *((_followed, (end, "claim")) for end in ("finish", "retry later", "give back", "delete")),
    (_followed, ("finish", "cancel 2")),
    (_followed, ("finish", "defer higher")),
    (_followed, ("cancel", "finish")),
    (_held, ("finish", "defer", "claim")),
    (_followed, ("finish", "claim", "cancel 2")),
    (_followed, ("finish", "defer higher", "claim")),
    (_failed, ("retry by hand", "defer")),
    (_failed, ("retry by hand", "claim")),
    (_failed, ("retry by hand", "defer", "claim")),
    # Claims of one lock.
    (_waiting, ("claim", "claim too")),
    (_waiting, ("claim", "defer higher", "claim too")),
    (_waiting, ("claim", "defer")),
    (_waiting, ("claim", "cancel")),
    (_waiting, ("claim", "delete waiting")),
    (_waiting, ("claim", "put off")),
    (_waiting, ("claim", "prefer 2")),
    (_waiting, ("claim", "move to b")),
    (_waiting, ("claim in b", "move to b")),
    (_waiting, ("cancel", "claim", "claim too")),
    (_waiting, ("prefer 2", "claim", "claim too")),
    # A head for later.
    *((_for_later, (change, "defer")) for change in ("cancel", "put off", "delete waiting")),
    (_for_later, ("bring forward", "claim")),
    (_behind_one_for_later, ("cancel", "claim")),
    (_behind_one_for_later, ("delete waiting", "claim")),
    (_for_later, ("cancel", "defer", "claim")),
    (_behind_one_for_later, ("bring forward", "claim")),
    (_timely, ("promote", "cancel")),
    (_timely, ("promote", "claim")),
    (_timely, ("promote", "promote too")),
    (_timely, ("promote", "put off")),
    (_timely, ("promote", "defer higher")),
    (_timely, ("promote", "cancel", "claim")),
    # One that is late.
    (_late, ("promote", "claim")),
    (_late, ("promote", "defer")),
    (_late, ("promote", "cancel", "claim")),
    (_late, ("claim", "claim too")),
    (_late, ("put off", "claim")),
    # Dead workers.
    (_dead, ("rescue", "finish")),
    (_dead, ("rescue", "rescue too")),
    (_dead, ("rescue", "defer")),
    (_dead_and_followed, ("rescue", "claim")),
    (_dead_and_followed, ("rescue", "finish", "claim")),
    (_dead_and_followed, ("rescue", "cancel", "claim")),
    (_dead_and_followed, ("rescue", "defer higher", "claim")),
    # Limits.
    (_full, ("finish unlocked", "defer limited")),
    (_full, ("finish unlocked", "defer limited in b")),
    (_full, ("finish unlocked", "defer limited", "claim")),
    (_full, ("finish unlocked", "finish 2 unlocked", "defer limited")),
    (_full_and_followed, ("finish unlocked", "claim three")),
    (_full_and_followed, ("finish unlocked", "finish 2 unlocked", "claim three")),
    (_full_and_followed, ("finish unlocked", "claim", "claim in b")),
    (_full_and_followed, ("give back unlocked", "claim three")),
    (_room, ("claim", "claim three")),
    (_room, ("claim", "claim too", "claim in b")),
    (_room, ("lower", "claim three")),
    (_room, ("lower", "claim", "claim too")),
    (_lowered, ("raise", "claim three")),
    (_lowered, ("raise", "finish unlocked", "claim three")),
    (_lowered, ("raise", "defer limited")),
    (_heads_of_a_limit, ("finish unlocked", "claim three")),
    (_heads_of_a_limit, ("finish unlocked", "cancel 2", "claim three")),
    (_heads_of_a_limit, ("finish unlocked", "defer higher", "claim three")),
    (_limited_queue, ("claim", "claim too")),
    (_limited_queue, ("claim three", "claim in b")),
    (_slow, ("claim", "claim in b")),
    (_slow, ("claim", "defer paced", "claim in b")),
    (_slow_again, ("promote", "claim three")),
    (_slow_again, ("promote", "promote too")),
    (_slow_begun, ("give back unlocked", "claim three")),
    (_slow_begun, ("give back unlocked", "claim", "claim in b")),
    # Pauses.
    (_waiting, ("pause queue", "claim")),
    (_waiting, ("pause task", "claim three")),
    (_paused_queue, ("resume queue", "claim")),
    (_paused, ("resume task", "claim three")),
    (_paused, ("resume task", "claim", "claim too")),
    (_paused, ("resume task", "defer", "claim three")),
    # What is in the queue once.
    (_nothing, ("defer q", "defer q too")),
    (_nothing, ("defer k", "defer k too")),
    (_q, ("retry unlocked", "defer q")),
    (_q, ("retry unlocked", "replace q")),
    (_waiting_q, ("replace q", "claim")),
    (_waiting_q, ("replace q", "cancel")),
)
MEETINGS = [Meeting(" and ".join(names), set_up, names) for set_up, names in _MEETINGS]
