"""taskq: a PostgreSQL task queue for Python, SQL first and typed from end to end."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskq.exports import *  # noqa: F403 - its __all__ says which
    from taskq.exports import __all__ as __all__
else:
    from importlib import import_module
    from importlib.util import find_spec

    def __getattr__(name: str) -> object:
        """Import what is asked for: a module of this package, or all of ``exports``.

        pytest imports this package in every run, for the plugin in it, and few runs need more of it.
        """
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if find_spec(f"{__name__}.{name}") is not None:
            return import_module(f"{__name__}.{name}")
        exports = import_module(f"{__name__}.exports")
        if name == "__all__":
            return exports.__all__
        if name not in exports.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(exports, name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
