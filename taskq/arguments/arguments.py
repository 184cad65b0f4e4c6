"""A task's arguments: from a call to the JSON of a job, and from that JSON to a call."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, NoReturn, ParamSpec

from pydantic import JsonValue

from taskq.arguments.codec import Codec, Unserializable, json_schemas
from taskq.arguments.signature import Signature
from taskq.encryption import ENCRYPTED
from taskq.exceptions import InvalidArguments, InvalidSignature
from taskq.messages import closest, short_repr
from taskq.unreadable import UnreadableJson

P = ParamSpec("P")

_BY_NAME = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.VAR_KEYWORD,
}

# Of many that are wrong, as those of a form or of another program may be.
_SHOWN_FAULTS = 10


class Arguments(Generic[P]):
    """The arguments that a function takes, checked against its own signature.

    A default is not stored: it is the function's own at the time it runs. A parameter without an
    annotation takes whatever JSON carries.

    Args:
        function: The task's function, sync or async.
        task_name: The task's name, for messages.
        skip: How many of its first parameters are no arguments of the job, as a ``JobContext``.
        conceals: Whether no message may show a value, as the task is encrypted.

    Raises:
        InvalidSignature: A parameter can only be given by position, its type cannot be stored, or
            its annotation names what does not exist at run time.
    """

    def __init__(
        self,
        function: Callable[P, object],
        *,
        task_name: str,
        skip: int = 0,
        conceals: bool = False,
    ) -> None:
        self.task_name = task_name
        self.conceals: bool = conceals
        self._codecs: dict[str, Codec[Any]] = {}
        self._required: set[str] = set()
        self._defaults: dict[str, Any] = {}
        self._extra: Codec[Any] | None = None
        self._filled: dict[str, Callable[[], object]] = {}
        signature = Signature(function, task_name=task_name)
        if len(signature.parameters) < skip:
            raise InvalidSignature(
                f"task {task_name!r} is to be passed a context, and takes no parameter for it: "
                "add one in front"
            )
        for parameter in signature.parameters[skip:]:
            if parameter.kind not in _BY_NAME:
                raise InvalidSignature(
                    f"task {task_name!r}: parameter {str(parameter)!r} can only be given by "
                    "position, and a job's arguments are stored by name; "
                    "make it one that can be given by name"
                )
            annotation = signature.type_of(parameter)
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
                required = parameter.default is parameter.empty
                self._add(parameter.name, annotation, required=required)
                if not required:
                    self._defaults[parameter.name] = parameter.default
            elif (named := signature.named(annotation)) is not None:
                for name, (hint, required) in named.items():
                    self._add(name, hint, required=required)
            else:
                self._extra = self._codec(parameter.name, annotation)

    def _add(self, name: str, annotation: Any, *, required: bool) -> None:
        self._codecs[name] = self._codec(name, annotation)
        if required:
            self._required.add(name)

    def dump(self, /, *args: P.args, **kwargs: P.kwargs) -> dict[str, JsonValue]:
        """Check the arguments of a call and turn them into what is stored.

        Args:
            *args: None: arguments are given by name.
            **kwargs: The arguments of the call.

        Returns:
            The job's ``args``.

        Raises:
            InvalidArguments: With the task and every argument that is wrong, missing or unknown.
        """
        self.refuse_positional(args)
        filled = {name: fill() for name, fill in self._filled.items() if name not in kwargs}
        return self._each(filled | kwargs, Codec.dump, conceals=self.conceals)

    def fill(self, name: str, value: Callable[[], object]) -> None:
        """Have a required argument that a call leaves out be stored with a value of that moment.

        Args:
            name: The argument; nothing is done about one that has a default of its own.
            value: Makes the value, when a job is deferred.
        """
        if name in self._required:
            self._filled[name] = value

    def takes(self, name: str) -> bool:
        """Whether it takes an argument of that name."""
        return name in self._codecs or self._extra is not None

    def requires(self, name: str) -> bool:
        """Whether a job cannot be without an argument of that name."""
        return name in self._required

    def default_of(self, name: str) -> JsonValue:
        """What a job has of an argument that it is deferred without.

        Raises:
            InvalidArguments: It has no default.
        """
        return self.value_of(name, {})

    def value_of(self, name: str, stored: Mapping[str, JsonValue]) -> JsonValue:
        """The value of an argument of a job, or that of its default.

        Args:
            name: The argument.
            stored: The job's ``args``.

        Raises:
            InvalidArguments: It is not there.
        """
        if name in stored:
            return stored[name]
        if name not in self._defaults:
            raise InvalidArguments(
                f"task {self.task_name!r}: argument {name!r} is missing ({self._expected()})"
            )
        value: JsonValue = self._codecs[name].dump(self._defaults[name])
        return value

    def dump_one(self, name: str, value: object) -> JsonValue:
        """The value of one argument as it would be stored.

        Args:
            name: The argument.
            value: Its value.

        Raises:
            InvalidArguments: There is no argument of that name, or the value does not fit it.
        """
        codec = self._codecs.get(name, self._extra)
        if codec is None:
            unknown = self._unknown(name, conceals=self.conceals)
            raise InvalidArguments(f"task {self.task_name!r}: {unknown} ({self._expected()})")
        try:
            return codec.dump(value)
        except Unserializable as unfit:
            raise InvalidArguments(
                f"task {self.task_name!r}: {self._unfit(name, unfit, conceals=self.conceals)}"
            ) from None

    def refuse_positional(self, args: tuple[object, ...]) -> None:
        """Refuse arguments that are given by position.

        Raises:
            InvalidArguments: With the task and the values.
        """
        if args:
            shown = "" if self.conceals else f" ({', '.join(map(short_repr, args))})"
            raise InvalidArguments(
                f"task {self.task_name!r} takes its arguments by name, and got "
                f"{len(args)} by position{shown}; {self._expected()}"
            )

    def load(self, stored: Mapping[str, JsonValue], *, conceals: bool = False) -> dict[str, Any]:
        """Turn a job's ``args`` into the keyword arguments of a call.

        Args:
            stored: The job's ``args``; the signature may have changed since they were written.
            conceals: Whether no message may show a value, as they were encrypted.

        Returns:
            The arguments, as the types that the signature annotates.

        Raises:
            InvalidArguments: With the task and every argument that is wrong, missing or unknown.
        """
        conceals = conceals or self.conceals
        if not isinstance(stored, dict):
            self._refuse(stored, conceals=conceals)
        return self._each(stored, Codec.load, conceals=conceals)

    def has_names_of(self, stored: object) -> bool:
        """Whether a job's ``args`` have the names that a call takes: other ones are of other code."""
        if not isinstance(stored, dict):
            return True
        return self._required <= stored.keys() and (
            self._extra is not None or stored.keys() <= self._codecs.keys()
        )

    def _refuse(self, stored: object, *, conceals: bool) -> NoReturn:
        # What was written past taskq_defer_jobs.
        what = (
            "its arguments cannot be read, and are not shown"
            if conceals
            else f"its arguments cannot be read: {stored.reason}: {short_repr(stored.text)}"
            if isinstance(stored, UnreadableJson)
            else f"its arguments are no JSON object, but {short_repr(stored)}"
        )
        raise InvalidArguments(f"task {self.task_name!r}: {what} ({self._expected()})")

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of a job's ``args``: an object with a property per argument.

        An argument whose type no JSON Schema describes may be anything in it.
        """
        extra = [] if self._extra is None else [self._extra]
        each, shared = json_schemas([*self._codecs.values(), *extra])
        return {
            "type": "object",
            "properties": dict(zip(self._codecs, each, strict=False)),
            "required": [name for name in self._codecs if name in self._required],
            "additionalProperties": each[-1] if extra else False,
            **shared,
        }

    def _each(
        self,
        given: Mapping[str, Any],
        carry: Callable[[Codec[Any], Any], Any],
        *,
        conceals: bool,
    ) -> dict[str, Any]:
        carried: dict[str, Any] = {}
        faults = [
            f"argument {name!r} is missing"
            for name in self._codecs
            if name in self._required and name not in given
        ]
        for name, value in given.items():
            codec = self._codecs.get(name, self._extra)
            if codec is self._extra and (reason := _unstorable(name)):
                shown = "one that is not shown" if conceals else short_repr(name)
                faults.append(f"{shown} is not the name of an argument: it {reason}")
                continue
            if codec is None:
                faults.append(self._unknown(name, conceals=conceals))
                continue
            try:
                carried[name] = carry(codec, value)
            except Unserializable as unfit:
                faults.append(self._unfit(name, unfit, conceals=conceals))
            except Exception as error:
                # Of a user's validator, which may quote the value.
                if not conceals:
                    raise
                faults.append(self._unfit(name, error, conceals=True))
        if faults:
            if more := faults[_SHOWN_FAULTS:]:
                faults[_SHOWN_FAULTS:] = [f"and {len(more):,} more"]
            raise InvalidArguments(
                f"task {self.task_name!r}: {'; '.join(faults)} ({self._expected()})"
            )
        return carried

    def _codec(self, name: str, annotation: Any) -> Codec[Any]:
        try:
            return Codec(annotation)
        except Unserializable as unfit:
            raise InvalidSignature(
                f"task {self.task_name!r}: parameter {name!r} cannot be stored: {unfit}; "
                "annotate it with a type that pydantic can write as JSON and read again"
            ) from unfit

    def _unfit(self, name: str, error: Exception, *, conceals: bool) -> str:
        if not conceals:
            return f"argument {short_repr(name)} got {error}"
        # The name of an argument of **kwargs is as much the caller's as its value.
        shown = f"argument {name!r}" if name in self._codecs else "an argument of **kwargs"
        return f"{shown} got what does not fit it, and is not shown, as the job is encrypted"

    def _unknown(self, name: str, *, conceals: bool) -> str:
        close = closest(name, self._codecs)
        hint = f", did you mean {close!r}?" if close else ""
        shown = "an argument" if conceals else f"argument {short_repr(name)}"
        return f"{shown} is unknown{hint}"

    def _expected(self) -> str:
        needed = self._required - self._filled.keys()
        names = [name if name in needed else f"{name} (optional)" for name in self._codecs]
        if self._extra is not None:
            names.append("any other name")
        return f"it takes {', '.join(names)}" if names else "it takes no arguments"


def _unstorable(name: object) -> str | None:
    """Why a name cannot be one of ``**kwargs``; None if it can."""
    if not isinstance(name, str):
        return "is no text"
    if name == ENCRYPTED:
        return "stands for arguments that are encrypted"
    if "\0" in name:
        return "holds a NUL character, which PostgreSQL cannot store"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "holds a lone surrogate, not valid text"
    return None
