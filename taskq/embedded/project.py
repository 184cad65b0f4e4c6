"""Which project code belongs to, so that the embedded databases of two projects are two."""

import sys
import sysconfig
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]
_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
_SCRIPTS = Path(sysconfig.get_path("scripts")).resolve()

_MARK = "pyproject.toml"
_NAME_LENGTH = 40


def calling_project() -> Path:
    """The folder of the project whose code is calling.

    The code is the innermost one that is neither taskq's nor installed: the module that makes the app,
    which is the same in the web application, in a script and in a worker. Where there is none (at a
    prompt, or if a command names no app) it is what lies in the working directory.

    Returns:
        The folder of the nearest ``pyproject.toml`` above that code; or else the folder that its module
        is imported from, or the working directory.
    """
    root = next(_import_roots(), None) or Path.cwd()
    return next((folder for folder in (root, *root.parents) if (folder / _MARK).is_file()), root)


def project_name() -> str:
    """A name for what belongs to the calling project: short, readable, and of no other project."""
    project = calling_project()
    readable = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-"
        for letter in project.name
    )
    return f"{readable[:_NAME_LENGTH]}-{sha256(bytes(project)).hexdigest()[:8]}"


def _import_roots() -> Iterator[Path]:
    frame = sys._getframe(1)
    while frame is not None:
        if (root := _import_root(frame.f_globals)) is not None:
            yield root
        frame = frame.f_back  # type: ignore[assignment]  # None at the outermost one


def _import_root(module: Mapping[str, Any]) -> Path | None:
    """The folder that a module is imported from; None if it has no file, or is not the project's."""
    named = module.get("__file__")
    if not isinstance(named, str):
        return None
    file = Path(named).resolve()
    if (
        file.is_relative_to(_PACKAGE)
        or file.is_relative_to(_STDLIB)
        or file.parent == _SCRIPTS
        or not {"site-packages", "dist-packages"}.isdisjoint(file.parts)
    ):
        return None
    # Of `python -m shop.jobs` the name is __main__.
    spec = module.get("__spec__")
    name = str(spec.name if spec is not None else module.get("__name__"))
    depth = name.count(".") + (file.stem == "__init__")
    return file.parents[min(depth, len(file.parents) - 1)]
