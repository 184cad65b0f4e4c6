"""A function's signature, with each annotation resolved when it is needed."""

import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from types import NoneType
from typing import Any, NotRequired, Required, Unpack, get_args, get_origin, get_type_hints

from taskq.exceptions import InvalidSignature


class Signature:
    """What ``inspect.signature`` says that a function takes and returns.

    So ``functools.wraps``, ``functools.partial``, ``__signature__``, callable objects and classes are
    called as they ask to be. Each annotation is resolved by itself: what is not asked for, such as the
    type of a context, may exist only under ``TYPE_CHECKING``.

    Attributes:
        parameters: In order.

    Args:
        function: The function.
        task_name: The task's name, for messages.

    Raises:
        InvalidSignature: The function has none, as some that are written in C.
    """

    def __init__(self, function: Callable[..., object], *, task_name: str) -> None:
        self._function = function
        self._task_name = task_name
        try:
            self._signature = inspect.signature(function)
        except (NameError, TypeError, ValueError) as error:
            raise InvalidSignature(
                f"task {task_name!r}: its signature cannot be read: {error}; wrap it in a function "
                "of your own"
            ) from error
        self.parameters: list[inspect.Parameter] = list(self._signature.parameters.values())

    def type_of(self, parameter: inspect.Parameter) -> Any:
        """The type of a parameter; ``Any`` if it is not annotated.

        Raises:
            InvalidSignature: It names something that does not exist at run time.
        """
        return self.resolved(parameter.annotation)

    def text(self, *, skip: int = 0) -> str:
        """What people read of it, with the annotations' types.

        Args:
            skip: How many parameters at its beginning are left out.
        """
        parameters = [
            parameter.replace(annotation=self._shown(parameter.annotation))
            for parameter in self.parameters[skip:]
        ]
        returned = self._shown(self._signature.return_annotation)
        text = str(inspect.Signature(parameters, return_annotation=returned))
        # What Python 3.13 calls them, which none imports.
        return text.replace("pathlib._local.", "pathlib.")

    def _shown(self, annotation: Any) -> Any:
        """What an annotation says, and not its text, as `from __future__ import annotations` makes of it."""
        if annotation is inspect.Signature.empty:
            return annotation
        try:
            resolved = self.resolved(annotation)
            return None if resolved is NoneType else resolved
        except InvalidSignature:
            # Of something else than an argument: what is only there for type checkers.
            return _Text(annotation) if isinstance(annotation, str) else annotation

    def returned(self) -> Any:
        """The type of what a task returns once it has run: of a coroutine, what it ends with.

        Raises:
            InvalidSignature: It names something that does not exist at run time.
        """
        if isinstance(self._function, type):
            return self._function
        returned = self.resolved(self._signature.return_annotation)
        if get_origin(returned) in {Awaitable, Coroutine}:
            return get_args(returned)[-1]
        return returned

    def named(self, annotation: Any) -> dict[str, tuple[Any, bool]] | None:
        """What ``**kwargs: Unpack[…]`` names: the type of each, and whether it is required."""
        if get_origin(annotation) is not Unpack:
            return None
        [typed_dict] = get_args(annotation)
        return {
            name: _unwrapped(hint, required=name in typed_dict.__required_keys__)
            for name, hint in self._hints(typed_dict).items()
        }

    def resolved(self, annotation: Any) -> Any:
        """What an annotation of the function says, which may be text; ``Any`` if there is none.

        Raises:
            InvalidSignature: It names something that does not exist at run time.
        """
        if annotation is inspect.Parameter.empty:
            return Any
        # The one way to resolve text, also inside of types, is by what has it as an annotation.
        return self._hints(_having({"it": annotation}), _names_at(self._function))["it"]

    def _hints(self, annotated: Any, names: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            return get_type_hints(annotated, names, include_extras=True)
        except (NameError, AttributeError, TypeError, SyntaxError) as error:
            raise InvalidSignature(
                f"task {self._task_name!r}: an annotation cannot be resolved: {error}; "
                "import it at run time, not only under TYPE_CHECKING"
            ) from error


class _Text(str):
    """The text of an annotation, which a signature shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _having(annotations: Mapping[str, Any]) -> Callable[[], None]:
    def annotated() -> None: ...

    annotated.__annotations__ = dict(annotations)
    return annotated


def _unwrapped(hint: Any, *, required: bool) -> tuple[Any, bool]:
    while (origin := get_origin(hint)) in {Required, NotRequired}:
        [hint] = get_args(hint)
        required = origin is Required
    return hint, required


def _names_at(function: Any) -> dict[str, Any]:
    """The names that the text of a function's annotations may use: those of its module."""
    while True:
        if isinstance(function, partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif inspect.isclass(function):
            return _names_at_class(function)
        elif inspect.isroutine(function):
            return dict(getattr(function, "__globals__", {}))
        else:
            function = type(function).__call__


def _names_at_class(made: Any) -> dict[str, Any]:
    maker = made.__new__ if made.__init__ is object.__init__ else made.__init__
    # Of a module that it may inherit it from, over those of its own: a NamedTuple's is in none.
    names = vars(sys.modules[made.__module__]) | getattr(maker, "__globals__", {})
    return {name: value for name, value in names.items() if name != "__builtins__"}
