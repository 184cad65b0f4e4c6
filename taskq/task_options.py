"""What a task is declared with, beside its function."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from taskq.exceptions import InvalidJob, InvalidSignature
from taskq.job_options import JobDefaults
from taskq.messages import short_repr
from taskq.middleware import Several, TaskMiddleware
from taskq.retry import RetryValue

Executor = Literal["thread", "process"]


class TaskOptions(JobDefaults, total=False):
    """What a task is declared with, beside what its jobs have of ``JobDefaults``.

    Attributes:
        name: What its jobs call it by; by default its module and qualified name, with dots.
        aliases: Other names that jobs may call it by, such as an earlier name.
        retry: False: a failed attempt is the last; True: it is followed by another at once; a number: so
            many times at most; a ``RetryStrategy``: see there.
        timeout: Seconds that an attempt may take. An async task is cancelled then; a sync task cannot be, and
            can ask ``context.should_abort()``.
        executor: Where a sync function runs: "thread", in the worker, or "process": in a process of its own,
            whose crash fails this job alone, and which is ended when the job is aborted or its time is over.
            An async function runs on the event loop.
        store_result: Keep the return value on the job.
        task_middleware: What wraps each attempt, one or several; sync for a sync function, async for an async
            one.
        encrypted: Store the arguments and the result so that only apps with the key can read them, and of
            errors no text that may quote them.
    """

    name: str | None
    aliases: Sequence[str]
    retry: RetryValue
    timeout: float | None
    executor: Executor | None
    store_result: bool
    task_middleware: Several[TaskMiddleware]
    encrypted: bool


def checked_aliases(aliases: object, name: str) -> tuple[str, ...]:
    """The aliases of the task of a name; refuses what is no list."""
    if isinstance(aliases, str) or not isinstance(aliases, Iterable):
        raise InvalidJob(f"task {name!r} got aliases={short_repr(aliases)}: give a list of names")
    return tuple(aliases)


def checked_transaction(transaction: object, pass_context: bool, name: str) -> bool:
    """Whether its attempts are transactions; refuses that without the context that has the connection."""
    if not isinstance(transaction, bool):
        raise InvalidJob(
            f"task {name!r} got transaction={short_repr(transaction)}: give True or False"
        )
    if transaction and not pass_context:
        raise InvalidSignature(
            f"task {name!r} is declared with transaction=True, and could not reach the transaction: declare "
            "it with pass_context=True as well, and do all that belongs to it on context.connection"
        )
    return transaction


def checked_encrypted(encrypted: object, name: str) -> bool:
    """Whether its arguments are encrypted; refuses what is no bool, as a key is not given here."""
    if not isinstance(encrypted, bool):
        raise InvalidJob(
            f"task {name!r} got encrypted={short_repr(encrypted)}: give True or False, and the keys to the "
            "app, as App(encryption_keys=[…])"
        )
    return encrypted


def checked_timeout(timeout: Any, name: str) -> float | None:
    """Its timeout in seconds; refuses what is not more than 0."""
    # Written so that NaN is refused as well.
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise InvalidJob(
            f"task {name!r} got timeout={short_repr(timeout)}: give seconds, more than 0"
        )
    return timeout


def checked_executor(
    executor: Executor | None, name: str, *, is_async: bool, transaction: bool
) -> Executor | None:
    """Where it runs; None: on the event loop. Refuses what cannot be."""
    if executor is None:
        return None if is_async else "thread"
    if executor not in {"thread", "process"}:
        raise InvalidJob(
            f"task {name!r} got executor={short_repr(executor)}: give 'thread' or 'process'"
        )
    if is_async:
        raise InvalidSignature(
            f"task {name!r} is declared with executor={executor!r}, and is async, so that it runs on the "
            "event loop: declare it with def, and what it awaits in asyncio.run(), or leave executor out"
        )
    if executor == "process" and transaction:
        raise InvalidSignature(
            f"task {name!r} is declared with executor='process' and transaction=True, and the worker's "
            "connection cannot be passed to another process: leave one of them out, or have it defer a "
            "second task, with the transaction, by what it has computed"
        )
    return executor
