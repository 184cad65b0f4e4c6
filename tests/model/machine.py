"""The machine: what workers, deferrers and an operator do, step by step, and the promises after each."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar

import psycopg
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from psycopg.errors import LockNotAvailable

from taskq.exceptions import AlreadyEnqueued
from tests.model import invariants, rules
from tests.model import strategies as given
from tests.model.database import Session, World
from tests.model.invariants import check
from tests.model.rules import End, RefusedError
from tests.model.state import RUNNING, WAITING, Figures, Job, State, Worker
from tests.model.strategies import NewJobs

T = TypeVar("T")
Op = Callable[[State], T]


@dataclass(frozen=True, slots=True)
class Token:
    """What a claim gave a worker: with it, it may end the job as long as it is its own."""

    job_id: int
    claim: int
    worker: int


class Machine(RuleBasedStateMachine):
    """Each rule runs a query of taskq's, takes it into the model, and compares the answers."""

    # In autocommit; the second is for the transaction that stays open.
    connections: ClassVar[tuple[psycopg.Connection, psycopg.Connection]]

    def __init__(self) -> None:
        super().__init__()
        main, late = self.connections
        # Only what the transaction that is open has locked is waited for, and it does not end by itself.
        main.execute("SET lock_timeout = '300ms'")
        self.main, self.late = Session(main), Session(late)
        self.world = World(main)
        self.state = State()
        self.rows: dict[int, Job] = {}
        self.tokens: list[Token] = []
        # What the open transaction has done, for when it is committed.
        self.pending: list[Callable[[State], Any]] = []
        self.is_open = False

    def teardown(self) -> None:
        """End the transaction that is open."""
        self.late.connection.rollback()

    @initialize(said=given.first_limits, queue_limit=given.first_queue_limits)
    def begin(self, said: Sequence[tuple[str, Figures]], queue_limit: str | None) -> None:
        self._register()
        self._register()
        for key, figures in said:
            self.say(key, by_operator=False, figures=figures)
        if queue_limit is not None:
            self.limit_queue("a", queue_limit)

    @rule(step=given.steps)
    def step(self, step: tuple[str, Mapping[str, Any]]) -> None:
        """Do one of what follows; what cannot be done now is left.

        One rule for all, as Hypothesis leaves some of them out of each example: jobs would hardly meet.
        """
        name, values = step
        getattr(self, name)(**values)

    # Deferring.

    def defer(self, new: NewJobs, on_conflict: Literal["raise", "skip", "replace"]) -> None:
        on_conflict = on_conflict if new.queueing_lock else "raise"
        jobs = new.at(self.state.hour)
        is_refused = False
        try:
            ids = self._try(lambda: self.main.defer(jobs, on_conflict, self.state.hour))
        except AlreadyEnqueued:
            ids, is_refused = [*range(-len(jobs), 0)], True
        note(f"defer({new}, {on_conflict!r}) -> {'refused' if is_refused else ids}")
        if ids is None:
            return
        tried = deepcopy(self.state)
        try:
            answers = _deferred(tried, jobs, on_conflict, ids)
        except RefusedError:
            check(is_refused, "a queueing lock that a waiting job has is refused", ids)
        else:
            check(not is_refused, "a queueing lock is refused that a waiting job has", answers)
            check(answers == ids, "deferring answers what it is to", (answers, ids))
            self.state = tried

    def late_defer(self, new: NewJobs) -> None:
        jobs = replace(new, queueing_lock=None, key=None).at(self.state.hour)
        self._open()
        ids = self.late.defer(jobs, "raise", self.state.hour)
        note(f"in the open transaction: defer({new}) -> {ids}")
        self.pending.append(lambda state: _deferred(state, jobs, "raise", ids))

    # Workers.

    def claim(
        self, pick: int, queues: Sequence[str] | None, max_jobs: int, run_length: int
    ) -> None:
        worker = self._alive(pick)
        claimed = self.main.claim(worker, queues, max_jobs, run_length)
        self._late_ones_go(self.main, self.state)
        note(f"worker {worker}: claim({queues}, {max_jobs}, {run_length}) -> {claimed}")
        ids = [id_ for id_, _ in claimed]
        check(len(ids) <= max_jobs, "no more are claimed than asked for", ids)
        check(len(ids) == len(set(ids)), "no job is claimed twice", ids)
        check(
            all(queues is None or self.state.jobs[id_].queue in queues for id_ in ids),
            "a worker gets what is in its queues",
            ids,
        )
        invariants.start_claimed(self.state, ids, worker)
        invariants.the_best_are_claimed(self.state, ids, queues, max_jobs)
        self.tokens += [Token(id_, claim, worker) for id_, claim in claimed]

    def late_claim(
        self, pick: int, queues: Sequence[str] | None, max_jobs: int, run_length: int
    ) -> None:
        if self.is_open:
            return
        worker = self._alive(pick)
        self._open()
        claimed = self.late.claim(worker, queues, max_jobs, run_length)
        note(f"in a transaction that stays open: worker {worker}: claim(...) -> {claimed}")
        tried = deepcopy(self.state)
        ids = [id_ for id_, _ in claimed]
        cancelled = self._late_ones_go(self.late, tried)
        batch = invariants.start_claimed(tried, ids, worker)
        self.state.claims = batch
        self.state.reserved |= set(ids)
        self.state.held |= {*ids, *cancelled}

        def apply(state: State) -> None:
            rules.expire(state, cancelled)
            for id_, claim in claimed:
                rules.start(state, state.jobs[id_], worker, batch)
                self.tokens.append(Token(id_, claim, worker))

        self.pending.append(apply)

    def succeed(self, pick: int) -> None:
        if not self.tokens:
            return
        self._end(pick, given.SUCCEEDED, is_late=False)

    def end(self, pick: int, how: End, is_late: bool) -> None:
        if not self.tokens:
            return
        self._end(pick, how, is_late=is_late)

    def _end(self, pick: int, how: End, *, is_late: bool) -> None:
        token = self.tokens[-1 - pick % len(self.tokens)]
        job = self.state.jobs.get(token.job_id)
        ends = [replace(how, job_id=token.job_id, claim=token.claim)]
        if job is not None and job.status == RUNNING and self._is_current(token):
            if job.id in self.state.held or job.rank != (run := self._run_of(job))[0].rank:
                return
            ends = [self._end_of(job, how)]
            if how.status == WAITING:
                ends += [self._end_of(other, given.GIVEN_BACK) for other in run[1:]]
        elif job is not None and job.id in self.state.held:
            return
        if is_late and all(
            self.state.jobs[one.job_id].queueing_lock is None for one in ends if job is not None
        ):
            self._open()
            ended = self.late.end(token.worker, ends)
            tried = rules.end(deepcopy(self.state), token.worker, ends)
            self.state.held |= set(ended)
            self.pending.append(lambda state: rules.end(state, token.worker, ends))
        else:
            answered = self._try(lambda: self.main.end(token.worker, ends))
            if answered is None:
                return
            ended, tried = answered, rules.end(self.state, token.worker, ends)
            is_late = False
        where = "in the open transaction: " if is_late else ""
        note(f"{where}worker {token.worker}: end({ends}) -> {ended}")
        check(ended == tried, "an end is written if the attempt is its worker's own", tried)

    def lose_a_worker(self, pick: int, concurrency: int, dies: bool) -> None:
        if dies:
            dead = self._alive(pick)
            self.state.workers[dead].alive = False
            note(f"worker {dead} dies")
            self._register(concurrency)
        else:
            self._rescue()

    def _rescue(self) -> None:
        rescued = self.main.rescue()
        note(f"rescue() -> {rescued}")
        # A claim that is open may hold what bars the locks that it has come to.
        locked = {job.id for job in self.state.running() if job.lock is not None} - rescued.keys()
        expected = rules.rescue(self.state, self.state.held | (locked if self.is_open else set()))
        check(rescued == expected, "the jobs of dead workers are rescued", expected)

    def promote(self) -> None:
        self.main.promote()
        note("promote()")
        late = [job for job in self.state.waiting() if self.state.is_late(job)]
        rules.expire(self.state, [job.id for job in late if job.id not in self.state.held])

    # Operators.

    def change(self, pick: int, change: given.Change, is_late: bool) -> None:
        if not self.state.jobs:
            return
        ids = sorted(self.state.jobs.keys() - self.state.held)
        if not ids:
            return
        job = self.state.jobs[ids[-1 - pick % len(ids)]]
        if is_late and job.queueing_lock is None:
            self._open()
            done: bool | None = change.run(self.late, job.id)
            expected = change.apply(deepcopy(self.state), job.id)
            self.state.held.add(job.id)
            self.pending.append(lambda state: change.apply(state, job.id))
            note(f"in the open transaction: {change} of job {job.id} -> {done}")
        else:
            done = self._try(lambda: change.run(self.main, job.id))
            note(f"{change} of job {job.id} -> {done}")
            if done is None:
                return
            expected = change.apply(self.state, job.id)
        check(done == expected, "what is done is answered", expected)

    def pause_or_resume(self, place: tuple[str, str]) -> None:
        if place not in self.state.paused:
            self.main.pause(*place)
            self.state.paused.add(place)
            note(f"pause{place}")
        elif self._try(lambda: self.main.resume(*place)) is not None:
            self.state.paused.remove(place)
            note(f"resume{place}")

    def change_a_limit(self, said: given.Said) -> None:
        if self.state.reserved:
            return
        if said.queue is None:
            self.say(said.key, by_operator=said.by_operator, figures=said.figures)
        else:
            has_one = said.queue in self.state.queue_limits
            self.limit_queue(said.queue, None if has_one else said.key)

    def limit_queue(self, queue: str, key: str | None) -> None:
        """Have all jobs of a queue count in a limit, or in none."""
        self.main.limit_queue(queue, key)
        if key is None:
            del self.state.queue_limits[queue]
        else:
            self.state.queue_limits[queue] = key
        note(f"queue {queue} has the limit {key}")

    def say(self, key: str, *, by_operator: bool, figures: Figures | None) -> None:
        """Say what a limit allows."""
        self.main.say(key, by_operator, figures)
        rules.say(self.state, key, by_operator, figures)
        note(f"limit {key}: {figures} {'by the operator' if by_operator else 'by the app'}")

    # Time, and the open transaction.

    def move_time(self, hours: int) -> None:
        # The rows that it holds cannot be put back.
        self.end_transaction(is_committed=True)
        self.world.move_time(hours)
        self.state.hour += hours
        note(f"it is {self.state.hour} h")
        for id_, worker in self.state.workers.items():
            if worker.alive:
                self.world.beat(id_)
                worker.beat = self.state.hour

    def end_transaction(self, is_committed: bool) -> None:
        if not self.is_open:
            return
        pending, self.pending, self.is_open = self.pending, [], False
        self.state.held, self.state.reserved = set(), set()
        if is_committed:
            self.late.connection.commit()
            for apply in pending:
                apply(self.state)
        else:
            self.late.connection.rollback()
        note(f"the open transaction is {'committed' if is_committed else 'rolled back'}")

    @invariant()
    def the_promises_hold(self) -> None:
        rows = self.world.read_jobs(self.state.hour)
        invariants.nothing_is_lost(self.state, rows)
        invariants.transitions_are_legal(self.rows, rows)
        invariants.jobs_are_what_was_done_with_them(self.state, rows)
        invariants.one_of_a_lock_runs(self.state)
        invariants.one_waits_of_a_queueing_lock(rows)
        invariants.one_job_has_a_key(rows)
        invariants.rates_are_not_exceeded(self.state)
        if not self.is_open:
            invariants.nothing_free_is_forgotten(self.state, self.main, self.world)
        self.rows = rows

    # What the rules have in common.

    def _open(self) -> None:
        if not self.is_open:
            self.late.connection.execute("BEGIN")
            self.is_open = True

    def _try(self, run: Callable[[], T]) -> T | None:
        """Run what may have to wait for the open transaction; None: it has to, and nothing was done."""
        try:
            return run()
        except LockNotAvailable:
            assert self.is_open, "nothing is there that it could wait for"
            note("it waits for the open transaction, and is given up:")
            return None

    def _late_ones_go(self, session: Session, state: State) -> list[int]:
        """Take in which jobs a claim has cancelled, as their time was over; returns them."""
        rows = self.world.read_jobs(state.hour, session.connection)
        gone = [job.id for job in state.waiting() if rows[job.id].status == "cancelled"]
        check(
            all(state.is_late(state.jobs[id_]) for id_ in gone), "only what is late expires", gone
        )
        rules.expire(state, gone)
        return gone

    def _register(self, concurrency: int = 2) -> None:
        worker = 1 + max(self.state.workers, default=len(self.tokens))
        worker = max(worker, 1 + max((token.worker for token in self.tokens), default=0))
        self.world.register(worker, concurrency)
        self.state.workers[worker] = Worker(concurrency, self.state.hour)

    def _alive(self, pick: int) -> int:
        alive = [id_ for id_, worker in self.state.workers.items() if worker.alive]
        return alive[pick % len(alive)]

    def _is_current(self, token: Token) -> bool:
        job = self.state.jobs[token.job_id]
        return (job.claim, job.worker) == (token.claim, token.worker)

    def _run_of(self, job: Job) -> list[Job]:
        """What was claimed of a lock together, the first of it first."""
        if job.lock is None:
            return [job]
        run = [
            other
            for other in self.state.running()
            if (other.lock, other.batch, other.worker) == (job.lock, job.batch, job.worker)
        ]
        return sorted(run, key=lambda other: other.rank)

    def _end_of(self, job: Job, how: End) -> End:
        """As a worker says it, who knows what it has claimed."""
        return replace(
            how,
            job_id=job.id,
            claim=job.claim,
            held_lock=job.lock,
            held_queue=job.queue if how.queue else None,
        )


def _deferred(
    state: State, jobs: Sequence[Job], on_conflict: str, ids: Sequence[int | None]
) -> list[int | None]:
    """Take jobs into the model, one after the other, with the ids that the call has answered."""
    drawn = iter(ids)
    return [rules.defer(state, job, on_conflict, next(drawn, None)) for job in jobs]
