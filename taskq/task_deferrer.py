"""A deferrer that knows what its task returns, and so can wait for it."""

from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Generic, Literal, ParamSpec, TypeVar, Unpack, overload

from taskq.deferrer import BY_NAME, ByName, Deferrer
from taskq.exceptions import InvalidJob
from taskq.job import NewJob
from taskq.job_options import JobOptions, refuse_unknown
from taskq.manager.bounds import check_timeout
from taskq.queries.job_insert import OnConflict
from taskq.results import Returning, check_waitable, wait_for_result, wait_for_result_async

P = ParamSpec("P")
Id = TypeVar("Id", bound=int | None)
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class WaitOptions(JobOptions, total=False):
    """What ``Task.configure`` takes, beside what it has of ``JobOptions``.

    Attributes:
        wait_timeout: How long ``defer_and_wait`` waits, in seconds or as a ``timedelta``; None: for ever.
    """

    wait_timeout: float | timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDeferrer(Deferrer[P, Id], Generic[P, Id, R_co]):
    """Defers jobs of one task with certain options, and may wait for what they return."""

    task: Returning
    wait_timeout: float | None = None

    @overload
    def configure(
        self, *, on_conflict: Literal["skip"], **options: Unpack[WaitOptions]
    ) -> "TaskDeferrer[P, int | None, R_co]": ...
    @overload
    def configure(
        self, *, on_conflict: Literal["raise", "replace"], **options: Unpack[WaitOptions]
    ) -> "TaskDeferrer[P, int, R_co]": ...
    @overload
    def configure(self, **options: Unpack[WaitOptions]) -> "TaskDeferrer[P, Id, R_co]": ...
    def configure(
        self, *, on_conflict: OnConflict | None = None, **options: Unpack[WaitOptions]
    ) -> Any:
        """Make a deferrer whose jobs differ from this one's; see ``Deferrer.configure``.

        Args:
            on_conflict: See there.
            **options: See ``WaitOptions``.

        Raises:
            InvalidJob: An option no job can have; the message says which.
        """
        refuse_unknown(
            options,
            WaitOptions,
            f"task {self.task_name!r} cannot be configured with",
            "on_conflict",
        )
        job_options: Any = {**options}
        wait_timeout = job_options.pop("wait_timeout", self.wait_timeout)
        # By its name: a class with slots is made anew, and super() looks for the one before.
        configure: Any = Deferrer.configure
        configured = configure(self, on_conflict=on_conflict, **job_options)
        seconds = check_timeout(
            f"task {self.task_name!r} got wait_timeout", wait_timeout, InvalidJob
        )
        return replace(configured, wait_timeout=seconds)

    @overload
    def defer_and_wait(
        self: "TaskDeferrer[P, int, Coroutine[Any, Any, T]]",
        nothing: ByName = BY_NAME,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...
    @overload
    def defer_and_wait(
        self: "TaskDeferrer[P, int, T]",
        nothing: ByName = BY_NAME,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...
    def defer_and_wait(
        self, nothing: ByName = BY_NAME, /, *args: P.args, **kwargs: P.kwargs
    ) -> Any:
        """Defer a job, and wait for what it returns, for ``wait_timeout`` at most.

        Args:
            nothing: Nothing, as ``*args``: arguments are given by name.
            *args: None.
            **kwargs: The task's arguments.

        Raises:
            InvalidSignature: The task does not store its result.
            InvalidArguments: They do not fit the task, or JSON cannot carry them.
            InvalidJob: It is to be deferred in a caller's transaction, or may be skipped.
            AlreadyEnqueued: A job with the same queueing lock waits already.
            Exception: What ``Task.wait`` raises; of ``WaitTimeout`` the ``job_id`` is the job's.
        """
        job = self._awaited_job(nothing, *args, **kwargs)
        [job_id] = self._defer([job])
        assert job_id is not None  # noqa: S101 - none is skipped
        return wait_for_result(
            self.task, self.get_manager(), job_id, self.wait_timeout, exists=True
        )

    @overload
    async def defer_and_wait_async(
        self: "TaskDeferrer[P, int, Coroutine[Any, Any, T]]",
        nothing: ByName = BY_NAME,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...
    @overload
    async def defer_and_wait_async(
        self: "TaskDeferrer[P, int, T]",
        nothing: ByName = BY_NAME,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T: ...
    async def defer_and_wait_async(
        self, nothing: ByName = BY_NAME, /, *args: P.args, **kwargs: P.kwargs
    ) -> Any:
        """The async twin of ``defer_and_wait``."""
        job = self._awaited_job(nothing, *args, **kwargs)
        [job_id] = await self._defer_async([job])
        assert job_id is not None  # noqa: S101 - none is skipped
        return await wait_for_result_async(
            self.task, self.get_manager(), job_id, self.wait_timeout, exists=True
        )

    def _awaited_job(self, nothing: ByName, /, *args: P.args, **kwargs: P.kwargs) -> NewJob:
        check_waitable(self.task)
        if self.connection is not None or self.get_manager().in_transaction:
            where = "in a transaction" if self.connection is None else "with a connection"
            raise InvalidJob(
                f"task {self.task_name!r} cannot be deferred and waited for {where}: no worker "
                "sees the job before the transaction commits; defer it there, and wait for its id afterwards"
            )
        if self.on_conflict == "skip":
            raise InvalidJob(
                f"task {self.task_name!r} cannot be deferred and waited for with on_conflict='skip': there "
                "may be no job; call defer, and wait for its id if it is one"
            )
        return self.prepare(nothing, *args, **kwargs).model_copy(update={"awaited": True})
