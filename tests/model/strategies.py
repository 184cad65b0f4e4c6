"""What the machine draws from: few names, so that jobs meet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.model import rules
from tests.model.database import Session
from tests.model.rules import End
from tests.model.state import Figures, Job, State, brief

picks = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4, 5, 6])
few = st.integers(1, 3)
run_lengths = st.sampled_from([1, 3])
rarely = st.sampled_from([False, False, True])
mostly = st.sampled_from([True, True, False])

served = st.sampled_from([None, ["a", "b"], ["a"], ["b"]])
pauses = st.sampled_from(
    [("queue", "a"), ("queue", "b"), ("task", "t"), ("task", "t"), ("task", "u")]
)
conflicts = st.sampled_from(["raise", "skip", "replace"])


@dataclass(frozen=True, slots=True, repr=False)
class NewJobs:
    """Jobs to be deferred, one or several that are alike; ``wait`` and ``expiry`` in hours."""

    number: int = 1
    task: str = "t"
    queue: str = "a"
    priority: int = 0
    lock: str | None = None
    queueing_lock: str | None = None
    key: str | None = None
    limit: str | None = None
    wait: int | None = None
    expiry: int | None = None

    __repr__ = brief

    def at(self, hour: int) -> list[Job]:
        """These, deferred at an hour."""
        start = None if self.wait is None else hour + self.wait
        return [
            Job(
                id=0,
                task=self.task,
                queue=self.queue,
                priority=self.priority,
                lock=self.lock,
                queueing_lock=self.queueing_lock,
                key=self.key,
                limit=self.limit,
                at=start,
                expires=None if self.expiry is None else hour + (self.wait or 0) + self.expiry,
            )
        ] * self.number


_numbers = st.sampled_from([1, 1, 2])
_queues = st.sampled_from(["a", "a", "b"])
_tasks = st.sampled_from(["t", "t", "u"])
_priorities = st.sampled_from([0, 0, 1, -1])
_locks = st.sampled_from(["x", "x", "x", "y"])
_limits = st.sampled_from(["conc", "conc:k", "rate", "rate", "both", "late"])
_waits = st.sampled_from([None, None, None, 1, 2])
# Those that share a lock, or a limit, and next to nothing else, so that they meet; and any.
jobs = st.one_of(
    st.builds(NewJobs, _numbers, _tasks, _queues, _priorities, _locks),
    st.builds(NewJobs, _numbers, _tasks, _queues, lock=_locks, wait=_waits, expiry=_waits),
    st.builds(NewJobs, _numbers, _tasks, _queues, _priorities, limit=_limits),
    st.builds(
        NewJobs,
        number=_numbers,
        task=_tasks,
        queue=_queues,
        priority=_priorities,
        lock=st.none() | _locks,
        queueing_lock=st.sampled_from([None, None, "q"]),
        key=st.sampled_from([None, None, None, "k"]),
        limit=st.none() | _limits,
        wait=_waits,
        expiry=_waits,
    ),
)


def _figures(concurrency: int | None, rate: tuple[int, int, int] | None) -> Figures:
    return Figures(concurrency, *(rate or (None, None, None)))


_concurrencies = st.integers(1, 2)
# So many, each so many hours after the one before, and so many at once.
_rates = st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 2))
_of_conc = st.builds(_figures, _concurrencies, st.none())
_of_rate = st.builds(_figures, st.none(), _rates)
_of_both = st.builds(_figures, _concurrencies, _rates)

# In which limit all jobs of a queue count, from the beginning.
first_queue_limits = st.sampled_from([None, None, "conc", "rate"])
first_limits = st.tuples(
    st.tuples(st.just("conc"), _of_conc),
    st.tuples(st.just("rate"), _of_rate),
    st.tuples(st.just("both"), _of_both),
)


@dataclass(frozen=True, slots=True, repr=False)
class Said:
    """What is said of a limit; no figures: it is taken back. With a queue: that it has the limit, or none."""

    key: str
    figures: Figures | None = None
    by_operator: bool = True
    queue: str | None = None

    __repr__ = brief


said = st.one_of(
    st.builds(Said, st.sampled_from(["conc", "conc", "conc:k", "both"]), st.none() | _of_conc),
    st.builds(Said, st.sampled_from(["rate", "both"]), st.none() | _of_rate),
    st.builds(Said, st.sampled_from(["conc", "late"]), _of_conc, st.just(False)),
    st.builds(Said, st.just("rate"), _of_rate, st.just(False)),
    st.builds(Said, st.sampled_from(["conc", "rate"]), queue=st.sampled_from(["a", "b"])),
)

SUCCEEDED = End("succeeded")
GIVEN_BACK = End("todo", keeps_attempt=True, unstarted=True)
ends = st.sampled_from(
    [
        SUCCEEDED,
        End("failed"),
        End("aborted"),
        End("succeeded", deleted=True),
        End("todo", retry_in=0),
        End("todo", retry_in=1),
        End("todo", retry_in=1, keeps_attempt=True),
        End("todo", retry_in=0, queue="b", priority=-1),
        End("todo", lock="y"),
        GIVEN_BACK,
        GIVEN_BACK,
    ]
)


@dataclass(frozen=True, slots=True, repr=False)
class Change:
    """What an operator does to a job: cancel, abort, delete, retry or reschedule it."""

    what: str
    wait: int | None = None
    queue: str | None = None
    priority: int | None = None
    lock: str | None = None

    __repr__ = brief

    def run(self, session: Session, job_id: int) -> bool:
        """Do it."""
        match self.what:
            case "delete":
                return session.delete(job_id)
            case "retry":
                return session.retry(job_id, self.wait or 0, self.queue, self.lock)
            case "reschedule":
                return session.reschedule(job_id, self.wait, self.queue, self.priority)
        return session.cancel(
            job_id, abort=self.what == "abort", delete_job=self.what == "cancel and delete"
        )

    def apply(self, state: State, job_id: int) -> bool:
        """Take it into the model."""
        job = state.jobs[job_id]
        match self.what:
            case "delete":
                if job.status == "doing":
                    return False
                rules.remove(state, job_id)
                return True
            case "retry":
                return rules.retry(state, job, self.wait or 0, self.queue, self.lock)
            case "reschedule":
                return rules.reschedule(state, job, self.wait, self.queue, self.priority)
        return rules.cancel(
            state, job, abort=self.what == "abort", delete_job=self.what == "cancel and delete"
        )


_changes: Sequence[Change] = [
    Change("cancel"),
    Change("cancel"),
    Change("cancel and delete"),
    Change("abort"),
    Change("delete"),
    Change("retry"),
    Change("retry", wait=1),
    Change("retry", queue="b", lock="y"),
    Change("reschedule", wait=0),
    Change("reschedule", wait=2),
    Change("reschedule", queue="b"),
    Change("reschedule", priority=1),
    Change("reschedule", priority=-1),
]
changes = st.sampled_from(_changes)

_claims = {"pick": picks, "queues": served, "max_jobs": few, "run_length": run_lengths}
# What the machine does, with what arguments, and how often.
_STEPS: Mapping[str, tuple[int, Mapping[str, st.SearchStrategy[Any]]]] = {
    "defer": (6, {"new": jobs, "on_conflict": conflicts}),
    "late_defer": (1, {"new": jobs}),
    "claim": (6, _claims),
    "late_claim": (1, _claims),
    "succeed": (3, {"pick": picks}),
    "end": (4, {"pick": picks, "how": ends, "is_late": rarely}),
    "lose_a_worker": (2, {"pick": picks, "concurrency": few, "dies": rarely}),
    "promote": (1, {}),
    "change": (4, {"pick": picks, "change": changes, "is_late": rarely}),
    "pause_or_resume": (3, {"place": pauses}),
    "change_a_limit": (2, {"said": said}),
    "move_time": (4, {"hours": few}),
    "end_transaction": (6, {"is_committed": mostly}),
}
steps = st.sampled_from(
    [name for name, (often, _) in _STEPS.items() for _ in range(often)]
).flatmap(lambda name: st.tuples(st.just(name), st.fixed_dictionaries(dict(_STEPS[name][1]))))
