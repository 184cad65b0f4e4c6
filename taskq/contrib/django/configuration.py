"""What a project says of taskq in its settings: ``TASKQ = {…}``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from taskq.messages import closest, short_repr

DEFAULT_ALIAS: Final = "default"

# Those that are options of ``App``, by the names that they have there.
_APP_OPTIONS: Final = {
    "POOLER": "pooler",
    "IMPORT_PATHS": "import_paths",
    "WORKER_DEFAULTS": "worker_defaults",
    "RETENTION": "retention",
    "PERIODIC_DEFAULTS": "periodic_defaults",
    "QUEUE_LIMITS": "queue_limits",
    "DEFER_MIDDLEWARE": "defer_middleware",
    "PUBLISH_MIDDLEWARE": "publish_middleware",
    "ENCRYPTION_KEYS": "encryption_keys",
}
_KNOWN: Final = ("DATABASE", "MIGRATE", "TASKS_MODULE", *_APP_OPTIONS)
_MIDDLEWARE: Final = ("task_middleware", "worker_middleware")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The settings, checked.

    Attributes:
        database: The alias in ``DATABASES`` of the database that has the jobs.
        migrate: What ``manage.py migrate`` applies of the schema: "all", "pre" or "nothing".
        tasks_module: The module of each installed app that has its tasks; None: none is looked for.
        app_options: What ``App`` is given beside its database.
    """

    database: str = DEFAULT_ALIAS
    migrate: str = "all"
    tasks_module: str | None = "tasks"
    app_options: Mapping[str, Any] = field(default_factory=dict)


def read_configuration() -> Configuration:
    """Read ``TASKQ`` of the settings; without it, all is as it is by default.

    Raises:
        ImproperlyConfigured: It has what is none of its settings, or what makes no sense there.
    """
    given: object = getattr(settings, "TASKQ", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(
            f"TASKQ={short_repr(given)}: give a dictionary, as in TASKQ = {{'DATABASE': 'default'}}"
        )
    for name in given:
        if name not in _KNOWN:
            close = closest(str(name).upper(), _KNOWN)
            hint = f"did you mean {close!r}? " if close else ""
            raise ImproperlyConfigured(
                f"TASKQ has {name!r}, which is none of its settings: {hint}there are {', '.join(_KNOWN)}"
            )
    return Configuration(
        database=check_alias("TASKQ['DATABASE']", given.get("DATABASE", DEFAULT_ALIAS)),
        migrate=_migrate(given.get("MIGRATE", True)),
        tasks_module=_tasks_module(given.get("TASKS_MODULE", "tasks")),
        app_options={
            option: _with_imports(name, given[name])
            for name, option in _APP_OPTIONS.items()
            if name in given
        },
    )


def check_alias(what: str, alias: object) -> str:
    """Refuse what is no alias of a database.

    Args:
        what: What it is, for the message.
        alias: What was given.

    Raises:
        ImproperlyConfigured: ``DATABASES`` has no such alias.
    """
    known = settings.DATABASES
    if not isinstance(alias, str) or alias not in known:
        raise ImproperlyConfigured(
            f"{what}={short_repr(alias)}: give an alias of DATABASES, which has "
            f"{', '.join(map(repr, known)) or 'none'}"
        )
    return alias


def _migrate(given: object) -> str:
    meant = {True: "all", False: "nothing", "pre": "pre"}
    if not isinstance(given, bool | str) or given not in meant:
        raise ImproperlyConfigured(
            f"TASKQ['MIGRATE']={short_repr(given)}: give True, 'pre' for what may be applied before the new "
            "code runs, or False for what `manage.py taskq schema apply` is to do"
        )
    return meant[given]


def _tasks_module(given: object) -> str | None:
    if given is None or (isinstance(given, str) and given.isidentifier()):
        return given
    raise ImproperlyConfigured(
        f"TASKQ['TASKS_MODULE']={short_repr(given)}: give the name of a module in each app, as in 'tasks', "
        "or None if none is to be looked for"
    )


def _with_imports(name: str, given: Any) -> Any:
    # Settings are read before most of a project can be imported, so that they name functions by their paths.
    if name in {"DEFER_MIDDLEWARE", "PUBLISH_MIDDLEWARE"}:
        return _imported(f"TASKQ[{name!r}]", given)
    if name == "WORKER_DEFAULTS" and isinstance(given, Mapping):
        return {
            option: _imported(f"TASKQ['WORKER_DEFAULTS'][{option!r}]", value)
            if option in _MIDDLEWARE
            else value
            for option, value in given.items()
        }
    return given


def _imported(what: str, given: Any) -> Any:
    if isinstance(given, str):
        try:
            found: Callable[..., Any] = import_string(given)
        except ImportError as error:
            raise ImproperlyConfigured(
                f"{what} has {given!r}, which cannot be imported: {error}"
            ) from error
        return found
    if isinstance(given, list | tuple):
        return [_imported(what, each) for each in given]
    return given
