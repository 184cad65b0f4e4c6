"""Every exception that taskq raises on purpose, as one tree.

    TaskqException
    ├── DatabaseNotConfigured      nobody said which database, and there is none to fall back on
    ├── InvalidDatabase            what was named as the database is none that taskq can use
    ├── EmbeddedServerError        the server in a wheel cannot be used here
    ├── InvalidSignature           the function cannot be a task: a parameter cannot be stored
    ├── InvalidArguments           the values do not fit the task, or JSON cannot carry them
    └── InvalidResult              the value a task returned does not fit what it says it returns

Catch ``TaskqException`` to catch them all. Each message says what was wrong, with the value, and
what to do about it.
"""


class TaskqException(Exception):  # noqa: N818 - the name that Procrastinate's users know
    """The base of every exception that taskq raises on purpose."""


class DatabaseNotConfigured(TaskqException):
    """No database was named and none was found; the message lists the ways to name one."""


class InvalidDatabase(TaskqException):
    """What was named as the database cannot be used; the message never shows a password."""


class EmbeddedServerError(TaskqException):
    """The embedded server cannot start or cannot use the folder it was given."""


class InvalidSignature(TaskqException):
    """A function cannot be a task, because a parameter of it could never be stored."""


class InvalidArguments(TaskqException):
    """Arguments do not fit a task's signature, or hold a value that JSON cannot carry."""


class InvalidResult(TaskqException):
    """A task's return value does not fit its annotation, or JSON cannot carry it."""
