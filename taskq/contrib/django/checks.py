"""What ``manage.py check`` says of taskq."""

from typing import Any

from django.core.checks import Error
from django.db import connections

from taskq.contrib.django.application import get_app
from taskq.contrib.django.database import conninfo_of
from taskq.exceptions import InvalidDatabase


def check_database(**_: Any) -> list[Any]:
    """Whether the database of the jobs is one that taskq can use; it is not connected to."""
    return check_alias_of(get_app().alias)


def check_alias_of(alias: str) -> list[Any]:
    """Whether the database of an alias is one that taskq can use."""
    try:
        conninfo_of(alias)
    except InvalidDatabase as error:
        return [Error(str(error), obj=connections[alias], id="taskq.E001")]
    return []
