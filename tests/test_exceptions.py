"""The tree of exceptions is as its module draws it."""

from taskq import exceptions


def drawn(error: type[Exception], indent: str = "") -> str:
    """An exception and those below it, a line each, in the order of their declaration."""
    below = [e for e in error.__subclasses__() if e.__module__ == exceptions.__name__]
    lines = [error.__name__]
    for number, child in enumerate(below, start=1):
        branch, trunk = ("└── ", "    ") if number == len(below) else ("├── ", "│   ")
        lines.append(indent + branch + drawn(child, indent + trunk))
    return "\n".join(lines)


def test_the_tree_drawn_is_the_tree_that_is() -> None:
    tree = "    " + drawn(exceptions.TaskqException, indent="    ")
    assert f"\n\n{tree}\n\n" in (exceptions.__doc__ or ""), f"the tree is\n{tree}"


def test_all_that_the_module_declares_is_in_the_tree() -> None:
    for name, value in vars(exceptions).items():
        if isinstance(value, type) and value.__module__ == exceptions.__name__:
            assert issubclass(value, exceptions.TaskqException), name
