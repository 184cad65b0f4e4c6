"""A Querier that takes its methods from what sqlc has understood."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, text

from taskq_sql import understood


@cache
def _all_queries() -> dict[str, dict[str, dict[str, Any]]]:
    files: dict[str, dict[str, dict[str, Any]]] = {}
    for query in understood()["queries"]:
        module = query["filename"].removesuffix(".sql")
        files.setdefault(module, {})[_snake(query["name"])] = query
    return files


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


class Querier:
    """The queries of one file as methods, on one connection."""

    _methods: dict[str, Callable[..., Any]]

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Callable[..., Any]:
        try:
            method = self._methods[name]
        except KeyError:
            raise AttributeError(f"sqlc knows no query {name}") from None
        return lambda **values: method(self._connection, values)


def querier_of(module: str) -> type[Querier]:
    """The Querier for one file of sql/queries."""
    methods = {name: _method(query) for name, query in _all_queries()[module].items()}
    return type("Querier", (Querier,), {"_methods": methods})


def _method(query: dict[str, Any]) -> Callable[[Connection, dict[str, Any]], Any]:
    # SQLAlchemy takes :name for a parameter, sqlc writes $1.
    escaped = query["text"].replace(":", "\\:")
    statement = text(re.sub(r"\$(\d+)", r":p\1", escaped))
    names = {
        parameter["column"]["name"]: f"p{parameter['number']}" for parameter in query["params"]
    }
    columns = [(column["name"], column["not_null"]) for column in query["columns"]]

    def execute(connection: Connection, values: dict[str, Any]) -> Any:
        if values.keys() != names.keys():
            raise TypeError(f"{query['name']} takes {sorted(names)}, not {sorted(values)}")
        return connection.execute(statement, {names[name]: value for name, value in values.items()})

    def row_of(values: Any) -> Any:
        for (name, not_null), value in zip(columns, values, strict=True):
            if not_null and value is None:
                raise ValueError(f"{query['name']}: {name} is null, and sqlc takes it for not null")
        if len(columns) == 1:
            return values[0]
        return SimpleNamespace(**dict(zip([name for name, _ in columns], values, strict=True)))

    def one(connection: Connection, values: dict[str, Any]) -> Any:
        row = execute(connection, values).first()
        return None if row is None else row_of(row)

    def many(connection: Connection, values: dict[str, Any]) -> Iterator[Any]:
        # Lazy as the generated one: nothing runs until it is read.
        for row in execute(connection, values):
            yield row_of(row)

    def run(connection: Connection, values: dict[str, Any]) -> None:
        execute(connection, values)

    return {":one": one, ":many": many, ":exec": run}[query["cmd"]]
