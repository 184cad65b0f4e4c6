"""What a path such as ``shop.jobs:app`` names."""

from importlib import import_module
from operator import attrgetter


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
