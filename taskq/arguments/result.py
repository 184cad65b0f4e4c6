"""A task's return value: into the JSON of a job, and back as the type that the task annotates."""

from collections.abc import Callable
from typing import Generic, TypeVar

from pydantic import JsonValue

from taskq.arguments.codec import Codec, Unserializable
from taskq.arguments.signature import Signature
from taskq.encryption import ENCRYPTED, is_encrypted
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
        conceals: Whether no message may show a value, as the task is encrypted.

    Raises:
        InvalidSignature: The type cannot be stored.
    """

    def __init__(
        self, function: Callable[..., object], *, task_name: str, conceals: bool = False
    ) -> None:
        self.task_name = task_name
        self.conceals: bool = conceals
        annotation = Signature(function, task_name=task_name).returned()
        try:
            self._codec: Codec[R] = Codec(annotation)
        except Unserializable as unfit:
            raise InvalidSignature(
                f"task {task_name!r} cannot store its result: {unfit}; "
                "annotate a return type that pydantic can write as JSON and read again"
            ) from unfit

    def dump(self, value: R, *, conceals: bool = False) -> JsonValue:
        """Check a return value and turn it into what is stored.

        Args:
            value: What the function returned.
            conceals: Whether no message may show it, as the job is encrypted.

        Raises:
            InvalidResult: It does not fit the annotation, or JSON cannot carry it.
        """
        stored = self._carry(self._codec.dump, value, conceals=conceals)
        if is_encrypted(stored):
            raise InvalidResult(
                f"task {self.task_name!r}: the result is an object with the one name {ENCRYPTED!r}, which "
                "stands for a result that is encrypted"
            )
        return stored

    def load(self, stored: JsonValue, *, conceals: bool = False) -> R:
        """Turn a stored result into the type that the task annotates.

        Args:
            stored: What ``dump`` returned.
            conceals: Whether no message may show it, as it was encrypted.

        Raises:
            InvalidResult: It does not fit the annotation, any more or at all.
        """
        if not self.conceals and isinstance(stored, UnreadableJson):
            raise InvalidResult(
                f"task {self.task_name!r}: the result cannot be read: {stored.reason}: "
                f"{short_repr(stored.text)}"
            )
        return self._carry(self._codec.load, stored, conceals=conceals)

    def _carry(self, carry: Callable[[A], B], value: A, *, conceals: bool) -> B:
        try:
            return carry(value)
        except Unserializable as unfit:
            if not (conceals or self.conceals):
                raise InvalidResult(f"task {self.task_name!r}: the result {unfit}") from unfit
        except Exception:  # of a user's validator or serializer, which may quote the value
            if not (conceals or self.conceals):
                raise
        # Not from the error, which has the value.
        raise InvalidResult(
            f"task {self.task_name!r}: the result does not fit its type, or JSON cannot carry it; it is not "
            "shown, as the job is encrypted"
        )
