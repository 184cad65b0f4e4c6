"""Tasks: what is declared, what it is called, and what is refused at once."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from taskq import App, Blueprint, JobContext, RetryStrategy, Worker
from taskq.exceptions import (
    InvalidArguments,
    InvalidJob,
    InvalidResult,
    InvalidRetryStrategy,
    InvalidSignature,
    MiddlewareKindMismatch,
    ResultNotAvailable,
    UnboundTaskError,
)
from taskq.job import Job, JobStatus
from taskq.task import Task
from tests.test_retry import job


def send(to: str, copies: int = 1) -> str:
    """Send a mail."""
    return f"{copies} to {to}"


async def charge(order: int) -> int:
    return order + 1


def done(task: Any, result: Any, **changes: Any) -> Job:
    """A job of a task with a result, as the database had it."""
    changes = {"task_name": task.name, "status": JobStatus.SUCCEEDED} | changes
    return replace(job(1), result=result, **changes)


def test_a_task_is_called_like_its_function() -> None:
    assert Blueprint().task(send)("ada", copies=2) == "2 to ada"
    assert asyncio.run(Blueprint().task(charge)(order=1)) == 2


def test_a_task_looks_like_its_function() -> None:
    task = Blueprint().task(send)
    assert task.__doc__ == "Send a mail."
    assert task.__name__ == "send"  # type: ignore[attr-defined]
    assert repr(task) == "<Task tests.test_task.send>"


def test_the_default_name_is_the_dotted_path() -> None:
    def inner() -> None: ...

    assert Blueprint().task(send).name == "tests.test_task.send"
    assert (
        Blueprint().task(inner).name
        == "tests.test_task.test_the_default_name_is_the_dotted_path.<locals>.inner"
    )
    assert Blueprint().task(name="mail")(send).name == "mail"


def test_a_bare_decorator_and_one_with_options_declare_alike() -> None:
    app = App("postgresql://")

    @app.task
    def bare() -> None: ...

    @app.task(
        name="full",
        aliases=["old"],
        queue="mail",
        priority=3,
        lock="a",
        queueing_lock="b",
        metadata={"team": "ops"},
        tags=iter(["x", "y", "x"]),
        retry=2,
        pass_context=True,
        timeout=1.5,
        store_result=True,
    )
    async def full(context: JobContext) -> int:
        return 1

    assert (bare.queue, bare.priority, bare.lock, bare.queueing_lock) == ("default", 0, None, None)
    assert (bare.retry_strategy, bare.pass_context, bare.timeout, bare.store_result) == (
        None,
        False,
        None,
        False,
    )
    assert (full.queue, full.priority, full.lock, full.queueing_lock) == ("mail", 3, "a", "b")
    assert (bare.metadata, bare.tags) == (None, ())
    assert (full.metadata, full.tags) == ({"team": "ops"}, ("x", "y"))
    assert (full.retry_strategy, full.pass_context, full.timeout, full.store_result) == (
        RetryStrategy(max_attempts=2),
        True,
        1.5,
        True,
    )
    assert (bare.is_async, full.is_async) == (False, True)
    assert app.tasks == {bare.name: bare, "full": full, "old": full}


def test_the_context_is_no_argument_of_the_job() -> None:
    def crawl(context: JobContext, url: str) -> None: ...

    task = Blueprint().task(pass_context=True)(crawl)
    with pytest.raises(InvalidArguments, match="argument 'context' is unknown"):
        task.configure().prepare(url="x", context=None)  # type: ignore[call-arg]
    with pytest.raises(InvalidSignature, match=r"task 'shop.crawl' .* takes no parameter"):
        Blueprint().task(name="shop.crawl", pass_context=True)(lambda: None)  # type: ignore[misc, arg-type]


def test_an_argument_may_be_called_as_parameters_of_taskq_are() -> None:
    def odd(self: int, args: int, kwargs: int, function: int, task_name: int) -> None: ...

    given = {"self": 1, "args": 2, "kwargs": 3, "function": 4, "task_name": 5}
    assert Blueprint().task(odd).configure().prepare(**given).args == given


def test_a_task_that_belongs_to_no_app_can_be_called_and_not_deferred() -> None:
    with pytest.raises(UnboundTaskError, match=r"'tests.test_task.send' .*add_tasks_from"):
        Blueprint().task(send).defer(to="ada")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "name=''.* at least 1 character"),
        ({"name": "x" * 501}, "name='xxx.* at most 500 characters"),
        ({"name": "a\0b"}, "NUL"),
        ({"name": "\ud800"}, r"'\\ud800'"),
        ({"aliases": "old"}, "aliases='old'.* list of names"),
        ({"queue": ""}, "'tests.test_task.send' .* queue=''"),
        ({"queue": 3}, "'tests.test_task.send' .* queue=3: .* valid string"),
        ({"queue": None}, "queue=None"),
        ({"priority": 2**31}, "priority=2147483648: .* less than"),
        ({"priority": "high"}, "priority='high'"),
        ({"priority": 1.5}, "priority=1.5"),
        ({"lock": ""}, "lock=''"),
        ({"queueing_lock": "x" * 501}, "queueing_lock='xxx"),
        ({"tags": "mail"}, "tags='mail': .* valid list"),
        ({"tags": ["a", ""]}, r"tags=\['a', ''\]: at 1: .* at least 1 character"),
        ({"tags": ["x" * 501]}, "at most 500 characters"),
        ({"tags": [None]}, r"tags=\[None\]: at 0: .* valid string"),
        ({"tags": ["a\0"]}, "NUL"),
        ({"tags": map(str, range(101))}, "tags=.* at most 100 items"),
        ({"metadata": ["a"]}, r"metadata=\['a'\]: give a mapping of values by name"),
        ({"metadata": {1: 2}}, "metadata={1: 2}: .* valid string"),
        ({"metadata": {"at": date.max}}, "metadata=.* would arrive as '9999-12-31'"),
        ({"metadata": {"pair": (1, 2)}}, r"metadata=.* would arrive as \[1, 2\]"),
        ({"metadata": {"n": float("nan")}}, "metadata=.* JSON cannot carry it"),
        ({"metadata": {"n": 1e300}}, "metadata=.* would arrive as 1000"),
        ({"metadata": {"a\0": 1}}, "metadata=.* NUL character"),
        ({"metadata": {"a": object()}}, "metadata=.* JSON cannot carry it"),
        ({"timeout": 0}, "task 'tests.test_task.send' got timeout=0: .* more than 0"),
        ({"timeout": -1}, "timeout=-1"),
        ({"timeout": "1"}, "timeout='1'"),
        ({"timeout": float("nan")}, "timeout=nan"),
    ],
)
def test_what_no_job_can_have_is_refused_when_declared(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidJob, match=message):
        Task(send, **options)


def generate() -> Iterator[int]:
    yield 1


async def generate_async() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("shop.send", r"'shop.send' is no function: write @app.task above one"),
        (generate, r"<function generate .*> is a generator, of which nothing runs"),
        (generate_async, r"<function generate_async .*> is a generator"),
        (partial(send, "ada"), r"functools.partial.* has no name of its own: give one"),
    ],
)
def test_what_can_be_no_task_is_refused_when_declared(function: Any, message: str) -> None:
    with pytest.raises(InvalidSignature, match=message):
        Blueprint().task(function)


class Mailer:
    """Called by name, as partial functions are."""

    async def __call__(self, to: str, copies: int = 1) -> str:
        return f"{copies} to {to}"

    def send(self, to: str, copies: int = 1) -> str:
        return f"{copies} to {to}"


@pytest.mark.parametrize("function", [partial(send, copies=2), Mailer(), Mailer().send])
def test_whatever_is_called_can_be_a_task(function: Any) -> None:
    task: Any = Blueprint().task(name="send")(function)
    assert task.configure().prepare(to="ada").args == {"to": "ada"}
    assert task.is_async is isinstance(function, Mailer)
    with pytest.raises(InvalidArguments, match="task 'send': argument 'to' got 1"):
        task.configure().prepare(to=1)


SCRIPT = """
from taskq import Blueprint

@Blueprint().task
def send() -> None: ...

print(send.name)
"""


@pytest.mark.parametrize(
    ("how", "name"), [(["shop/jobs.py"], "jobs.send"), (["-m", "shop.jobs"], "shop.jobs.send")]
)
def test_a_task_of_a_program_is_called_as_its_workers_import_it(
    tmp_path: Path, how: list[str], name: str
) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "jobs.py").write_text(SCRIPT)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    said = subprocess.run(
        [sys.executable, *how],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == name


@pytest.mark.parametrize("retry", [-1, "often", 1.5])
def test_what_is_no_retry_is_refused_when_declared(retry: Any) -> None:
    with pytest.raises(InvalidRetryStrategy, match=r"retry=|max_attempts"):
        Blueprint().task(retry=retry)(send)


def wraps(call_next: Callable[[], Any], context: JobContext, worker: Worker) -> Any:
    return call_next()


async def wraps_async(
    call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker
) -> Any:
    return await call_next()


class Wrapper:
    async def __call__(
        self, call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker
    ) -> Any:
        return await call_next()


def test_middleware_that_matches_is_kept_with_the_outermost_first() -> None:
    wrapper = Wrapper()
    assert Blueprint().task(task_middleware=wraps)(send).task_middleware == (wraps,)
    assert Blueprint().task(task_middleware=[wraps_async, wrapper])(charge).task_middleware == [
        wraps_async,
        wrapper,
    ]


def test_middleware_of_the_other_colour_is_refused_when_declared() -> None:
    with pytest.raises(
        MiddlewareKindMismatch, match=r"'tests.test_task.send' needs a sync .*async"
    ):
        Blueprint().task(task_middleware=[wraps, wraps_async])(send)
    with pytest.raises(MiddlewareKindMismatch, match=r"needs a sync .* is an async"):
        Blueprint().task(task_middleware=Wrapper())(send)
    with pytest.raises(MiddlewareKindMismatch, match=r"'tests.test_task.charge' needs an async"):
        Blueprint().task(task_middleware=wraps)(charge)


def test_a_result_is_read_as_the_annotated_type() -> None:
    async def price() -> Decimal:
        return Decimal(1)

    task = Blueprint().task(store_result=True, aliases=["old"])(price)
    assert task.result(done(task, "1.50")) == Decimal("1.50")
    assert task.result(done(task, "1.50", task_name="old")) == Decimal("1.50")


def test_a_result_that_is_not_there_or_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidSignature, match=r"'tests.test_task.send' does not store its result"):
        Blueprint().task(send).result(done(Blueprint().task(send), "x"))
    task = Blueprint().task(store_result=True)(charge)
    with pytest.raises(InvalidResult, match=r"task 'tests.test_task.charge': the result 'x'"):
        task.result(done(task, "x"))


def forget() -> None: ...


@pytest.mark.parametrize("function", [charge, forget])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": JobStatus.TODO}, "job 1 is todo: it has no result before it has run"),
        ({"status": JobStatus.DOING}, "job 1 is doing: it has no result before it has ended"),
        ({"status": JobStatus.FAILED}, "job 1 has failed, and has no result; .* says why"),
        ({"status": JobStatus.CANCELLED}, "job 1 was cancelled"),
        ({"status": JobStatus.ABORTED}, "job 1 was aborted"),
        ({"task_name": "shop.send"}, "job 1 is one of task 'shop.send': ask that task"),
    ],
)
def test_a_job_without_a_result_says_why(
    function: Any, changes: dict[str, Any], message: str
) -> None:
    # As None would be the result of a task that returns nothing.
    task: Any = Blueprint().task(store_result=True)(function)
    with pytest.raises(ResultNotAvailable, match=f"task '{task.name}': {message}"):
        task.result(done(task, None, **changes))


def test_a_job_that_stored_no_result_says_so() -> None:
    task: Any = Blueprint().task(store_result=True)(charge)
    with pytest.raises(ResultNotAvailable, match="job 1 stored no result; it ran before"):
        task.result(done(task, None))
    with pytest.raises(ResultNotAvailable, match=r"7 is no job: give one as .*get_job\(job_id\)"):
        task.result(7)


AT_A_PROMPT = """
from taskq import App
app = App("{url}")

@app.task
def shout(text: str) -> None: ...

@app.task(name="shop.whisper")
def whisper(text: str) -> None: ...

whisper.defer(text="a"), shout.defer(text="b"), shout.defer(text="c")
"""


def test_a_task_that_no_other_process_can_import_is_mentioned_once(database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_A_PROMPT.format(url=database_url)],
        capture_output=True,
        text=True,
        check=True,
    )
    [warning] = done.stderr.splitlines()
    assert warning.startswith("task '__main__.shout' is declared at a prompt")
