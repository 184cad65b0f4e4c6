"""A task's return value: into the JSON of a job, and back as the type that the task annotates."""

from collections.abc import Callable
from typing import Generic, TypeVar

from pydantic import JsonValue

from taskq.arguments.codec import Codec, Unserializable
from taskq.arguments.signature import Signature
from taskq.exceptions import InvalidResult, InvalidSignature
from taskq.messages import short_repr
from taskq.unreadable import UnreadableJson

R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")


class Result(Generic[R]):
    """What a task returns, for a task that stores its result.

    Args:
        function: The task's function, sync or async; its return annotation is the type. Without
            one, whatever JSON carries.
        task_name: The task's name, for messages.

    Raises:
        InvalidSignature: The type cannot be stored.
    """

    def __init__(self, function: Callable[..., object], *, task_name: str) -> None:
        self.task_name = task_name
        annotation = Signature(function, task_name=task_name).returned()
        try:
            self._codec: Codec[R] = Codec(annotation)
        except Unserializable as unfit:
            raise InvalidSignature(
                f"task {task_name!r} cannot store its result: {unfit}; "
                "annotate a return type that pydantic can write as JSON and read again"
            ) from unfit

    def dump(self, value: R) -> JsonValue:
        """Check a return value and turn it into what is stored.

        Raises:
            InvalidResult: It does not fit the annotation, or JSON cannot carry it.
        """
        return self._carry(self._codec.dump, value)

    def load(self, stored: JsonValue) -> R:
        """Turn a stored result into the type that the task annotates.

        Raises:
            InvalidResult: It does not fit the annotation, any more or at all.
        """
        if isinstance(stored, UnreadableJson):
            raise InvalidResult(
                f"task {self.task_name!r}: the result cannot be read: {stored.reason}: "
                f"{short_repr(stored.text)}"
            )
        return self._carry(self._codec.load, stored)

    def _carry(self, carry: Callable[[A], B], value: A) -> B:
        try:
            return carry(value)
        except Unserializable as unfit:
            raise InvalidResult(f"task {self.task_name!r}: the result {unfit}") from unfit
