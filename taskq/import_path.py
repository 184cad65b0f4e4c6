"""What a path such as ``shop.jobs:app`` names, and the modules that have an app's tasks."""

import sys
from collections.abc import Iterable
from importlib import import_module
from operator import attrgetter
from types import ModuleType
from typing import TypeVar

from taskq.exceptions import LoadFromPathError

AppT = TypeVar("AppT")


def import_app(path: str, kind: type[AppT]) -> AppT:
    """Import the app that a path names.

    Args:
        path: See ``App.from_path``.
        kind: Its class.

    Raises:
        LoadFromPathError: The path leads to nothing, to something else, or to several apps.
    """
    try:
        found = import_named(path)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise LoadFromPathError(
            f"no app can be imported from {path!r}: {error}; name a module that can be imported "
            "and the app in it, as in shop.jobs:app"
        ) from error
    if isinstance(found, ModuleType):
        # By the first of its names, if an app has several.
        apps = {id(value): name for name, value in vars(found).items() if isinstance(value, kind)}
        if len(apps) != 1:
            raise LoadFromPathError(
                f"the module {path!r} has {len(apps) or 'no'} apps: name one, as in "
                + " or ".join(f"{path}:{name}" for name in apps.values() or ["app"])
            )
        found = getattr(found, *apps.values())
    if not isinstance(found, kind):
        raise LoadFromPathError(
            f"{path!r} is of the type {type(found).__name__}, and not an app: name the variable that the "
            "App is assigned to"
        )
    return found


def path_of(value: object) -> str | None:
    """A path by which another process can import what a module of this one has; None: no module has it."""
    found = [
        f"{module_name}:{name}"
        for module_name, module in list(sys.modules.items())
        for name, known in list(getattr(module, "__dict__", {}).items())
        if known is value
    ]
    # The main module by that name alone: multiprocessing makes it anew under it.
    found.sort(key=lambda path: path.startswith(("__main__:", "__mp_main__:")))
    return next(iter(found), None)


def import_modules(paths: Iterable[str]) -> None:
    """Import the modules of ``import_paths``.

    Raises:
        LoadFromPathError: One of them cannot be imported.
    """
    for path in paths:
        try:
            import_module(path)
        except (ImportError, TypeError, ValueError) as error:
            raise LoadFromPathError(
                f"import_paths has {path!r}, which cannot be imported: {error}"
            ) from error


def import_named(path: str) -> object:
    """Import what a path names: an attribute of a module, or else a module.

    Raises:
        ImportError: There is no such module, or it cannot be imported.
        AttributeError: The module has no such attribute.
    """
    module, colon, attribute = path.partition(":")
    if colon:
        return attrgetter(attribute)(import_module(module))
    module, _, attribute = path.rpartition(".")
    # First as an attribute: importing a submodule would put it in the place of one with its name.
    parent = import_module(module) if module else None
    if hasattr(parent, attribute):
        return getattr(parent, attribute)
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        if error.name == path and parent is not None:
            raise AttributeError(f"module {module!r} has no {attribute!r}") from None
        raise
