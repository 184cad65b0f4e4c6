"""A process that defers jobs at random: singly and in batches, by themselves and in transactions."""

import asyncio
import json
import os
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg

from taskq import Task
from taskq.deferrer import Deferrer
from tests.stress.children import answer, commands
from tests.stress.scripts import Arguments, Options, draw_arguments, draw_options
from tests.stress.tasks import LIMITS, URL_VARIABLE, work, work_in_a_thread, work_in_secret

_LONGEST_BATCH = 15
_SHARE_OF_ROLLBACKS = 0.2
_SHARE_OF_ENCRYPTED = 0.15
_THREADS = 2


def main() -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        for command in commands():
            done = [
                threads.submit(_defer_all, f"{command['seed']} thread {n}", command)
                for n in range(_THREADS)
            ]
            answer(jobs=sum(future.result() for future in done))


def _defer_all(seed: str, command: dict[str, float]) -> int:
    url = os.environ[URL_VARIABLE].replace("+psycopg", "", 1)
    with psycopg.connect(url) as connection:
        return Deferring(random.Random(seed), connection, command).defer_all()


class Deferring:
    """Defers the jobs of a thread.

    Args:
        rng: What is drawn at random comes from it.
        connection: For transactions of the caller's own.
        plan: What happens in this wave.
    """

    def __init__(
        self, rng: random.Random, connection: psycopg.Connection, plan: dict[str, float]
    ) -> None:
        self._rng = rng
        self._connection = connection
        self._plan = plan

    def defer_all(self) -> int:
        """Defer about as many jobs as planned, in about the time that is planned; returns how many."""
        ways = (
            *(self._alone, self._as_a_batch, self._at_once),
            *(self._by_sql, self._in_a_transaction),
        )
        wanted, began, deferred = self._plan["jobs"] / _THREADS, time.monotonic(), 0
        while deferred < wanted:
            [way] = self._rng.choices(ways, (4, 2, 2, 2, 3))
            deferred += way()
            ahead = self._plan["seconds"] * deferred / wanted - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(self._rng.uniform(0, 2) * ahead)
        return deferred

    def _alone(self) -> int:
        call = self._call()
        self._deferrer_of(call).defer(**call)
        return 1

    def _as_a_batch(self) -> int:
        return len(self._deferrer().batch_defer(*self._calls()))

    def _at_once(self) -> int:
        """Calls under way at the same time, which share statements, and of which one notifies for all."""

        async def defer() -> int:
            async with asyncio.TaskGroup() as group:
                calls = self._calls()
                for call in calls:
                    group.create_task(self._deferrer_of(call).defer_async(**call))
            return len(calls)

        return asyncio.run(defer())

    def _by_sql(self) -> int:
        """As another language would, in a transaction that may roll back."""

        def defer() -> int:
            jobs = [_as_json(call, self._options()) for call in self._calls()]
            self._connection.execute("SELECT taskq_defer_jobs(%s::jsonb)", [json.dumps(jobs)])
            return len(jobs)

        return self._in_one(defer)

    def _in_a_transaction(self) -> int:
        """Several calls, in a transaction that may roll back."""

        def defer() -> int:
            calls = self._calls()[:4]
            for call in calls:
                self._deferrer_of(call).configure(connection=self._connection).defer(**call)
                time.sleep(self._rng.uniform(0, self._plan["open_for"] / 4))
            return len(calls)

        return self._in_one(defer)

    def _in_one(self, change: Callable[[], int]) -> int:
        with self._connection.transaction(force_rollback=self._rng.random() < _SHARE_OF_ROLLBACKS):
            changed = change()
            time.sleep(self._rng.choice((0, self._rng.uniform(0, self._plan["open_for"]))))
        return changed

    def _deferrer_of(self, call: Arguments) -> Deferrer[..., int]:
        """One for this call alone, so that its arguments may be encrypted."""
        if self._rng.random() > _SHARE_OF_ENCRYPTED:
            return self._deferrer()
        # Its script is recorded all the same, and no key of a limit may tell an argument.
        deferrer = self._configured(work_in_secret, ("paced",))
        return deferrer.configure(metadata={"script": [*call["script"]]})

    def _deferrer(self) -> Deferrer[..., int]:
        return self._configured(self._rng.choice((work, work, work_in_a_thread)), LIMITS)

    def _configured(self, task: Task[..., Any], limits: Iterable[str]) -> Deferrer[..., int]:
        options = self._options()
        limit = options["limit"]
        return task.configure(
            queue=options["queue"],
            priority=options["priority"],
            lock=options["lock"],
            schedule_in=options["schedule_in"],
            expire_in=options["expire_in"],
            limit=LIMITS[limit] if limit is not None and limit in limits else None,
        )

    def _options(self) -> Options:
        return draw_options(
            self._rng, latest=self._plan["latest"], held_back=self._plan["held_back"]
        )

    def _call(self) -> Arguments:
        return draw_arguments(self._rng, nap=self._plan["nap"])

    def _calls(self) -> list[Arguments]:
        return [self._call() for _ in range(self._rng.randint(2, _LONGEST_BATCH))]


def _as_json(call: Arguments, options: Options) -> dict[str, object]:
    later, expiry = options["schedule_in"], options["expire_in"]
    return {
        "task_name": work.name,
        "args": call,
        "queue_name": options["queue"],
        "priority": options["priority"],
        "lock": options["lock"],
        "schedule_in": later and later.total_seconds(),
        "expire_in": expiry and expiry.total_seconds(),
        "limit": options["limit"],
        "limit_key": call["key"] if options["limit"] == "key" else None,
    }


if __name__ == "__main__":
    main()
