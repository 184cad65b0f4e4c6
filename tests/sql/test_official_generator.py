"""sqlc-gen-python can take our plugin's place: what ours writes is what that one would, by its rules."""

import inspect
import json
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from tests.sql.sqlc import ROOT, run_sqlc

Shape = dict[str, Any]

# How sqlc-gen-python types what sqlc sends; all else is Any there.
TYPES = {
    "text": "str",
    "timestamptz": "datetime",
    "jsonb": "Any",
    "pg_catalog.bool": "bool",
    "pg_catalog.float8": "float",
    "pg_catalog.int4": "int",
    "pg_catalog.int8": "int",
}


@pytest.fixture(scope="module")
def request_of_sqlc(tmp_path_factory: pytest.TempPathFactory) -> Shape:
    """What sqlc tells a plugin."""
    folder = tmp_path_factory.mktemp("sqlc")
    (folder / "sql").symlink_to(ROOT / "sql")
    configured = {
        "engine": "postgresql",
        "schema": "sql/migrations",
        "queries": "sql/queries",
        "gen": {"json": {"out": ".", "filename": "request.json"}},
    }
    (folder / "sqlc.json").write_text(json.dumps({"version": "2", "sql": [configured]}))
    assert run_sqlc("generate", folder=folder) == (0, "")
    request: Shape = json.loads((folder / "request.json").read_text())
    return request


def test_each_query_has_the_text_the_name_the_parameters_and_the_row_that_it_has_there(
    request_of_sqlc: Shape,
) -> None:
    tables = tables_of(request_of_sqlc)
    models = {name: fields for name, _, fields in tables}
    assert classes_of(import_module("taskq_sql.models"), "models") == models
    for query in request_of_sqlc["queries"]:
        module = import_module(f"taskq_sql.{query['filename'].removesuffix('.sql')}")
        method = snake(query["name"])
        parameters = inspect.signature(getattr(module.Querier, method)).parameters
        told = {
            "text": getattr(module, method.upper()),
            "parameters": {
                name: (told_type(parameter.annotation), parameter.kind)
                for name, parameter in parameters.items()
                if name != "self"
            },
            "row": row_of(module, method, query["cmd"]),
        }
        assert told == shape_of(query, tables, request_of_sqlc), query["name"]


def test_each_file_of_queries_has_the_methods_and_the_rows_of_its_queries_alone(
    request_of_sqlc: Shape,
) -> None:
    tables = tables_of(request_of_sqlc)
    for file in sorted((ROOT / "sql" / "queries").glob("*.sql")):
        module = import_module(f"taskq_sql.{file.stem}")
        queries = [query for query in request_of_sqlc["queries"] if query["filename"] == file.name]
        methods = [name for name in vars(module.Querier) if not name.startswith("_")]
        assert methods == sorted(snake(query["name"]) for query in queries)
        rows = [shape_of(query, tables, request_of_sqlc)["row"] for query in queries]
        own = {name for name, _ in filter(None, rows) if name.endswith("Row")}
        # Of an :exec, which nothing reads, it writes a class too.
        unread = {f"{query['name']}Row" for query in queries if query["cmd"] == ":exec"}
        assert classes_of(module, file.stem).keys() - unread == own


def test_nothing_has_to_be_written_that_it_cannot_write(request_of_sqlc: Shape) -> None:
    # It puts texts between three quotes and comments behind a # as they are.
    for query in request_of_sqlc["queries"]:
        assert "\\" not in query["text"]
        assert '"""' not in query["text"]
    for schema in request_of_sqlc["catalog"]["schemas"]:
        if schema["name"] == "public":
            comments = [enum["comment"] for enum in schema["enums"]]
            for table in schema["tables"]:
                comments += [table["comment"], *(column["comment"] for column in table["columns"])]
            for comment in comments:
                assert "\\" not in comment
                assert "\n" not in comment
                assert not comment.endswith('"')


def test_its_configuration_is_ours_with_its_plugin_and_its_options(
    request_of_sqlc: Shape,
) -> None:
    ours, its = ((ROOT / name).read_text() for name in ("sqlc.yaml", "sqlc.official.yaml"))
    shared = ours[ours.index("sql:\n") : ours.index("    codegen:")]
    assert shared in its
    assert "url: https://downloads.sqlc.dev/plugin/sqlc-gen-python_1.3.0.wasm" in its
    assert re.search(r"sha256: [0-9a-f]{64}\n", its)
    options = its[its.index("options:") :]
    for option in ("package: taskq_sql", "emit_pydantic_models: true", "emit_str_enum: true"):
        assert option in options
    assert "emit_sync_querier: true" in options
    assert "async" not in options
    # Beyond the limit the parameters become a class, and no method takes keywords any more.
    limit = re.search(r"query_parameter_limit: (\d+)", options)
    assert limit
    assert max(len(query["params"]) for query in request_of_sqlc["queries"]) <= int(limit[1])


def shape_of(query: Shape, tables: list[tuple[str, str, Shape]], request: Shape) -> Shape:
    """What sqlc-gen-python makes of a query: its internal/gen.go, in our words."""
    method = snake(query["name"])
    text = re.sub(r"\B\$(\d+)\b", r":p\1", query["text"].replace(":", r"\:"))
    columns = {column["name"]: type_of(column, request) for column in query["columns"]}
    row: tuple[str, Shape] | None = None
    if query["cmd"] == ":exec":
        pass  # the answer is thrown away
    elif len(query["columns"]) == 1:
        row = (next(iter(columns.values())), {})
    else:
        read = {column["table"] and column["table"]["name"] for column in query["columns"]}
        row = next(
            (
                (f"models.{model}", fields)
                for model, table, fields in tables
                if read == {table} and list(fields.items()) == list(columns.items())
            ),
            (f"{query['name']}Row", columns),
        )
    return {
        "text": f"-- name: {method} \\{query['cmd']}\n{text}\n",
        "parameters": {
            parameter["column"]["name"]: (
                type_of(parameter["column"], request),
                inspect.Parameter.KEYWORD_ONLY,
            )
            for parameter in query["params"]
        },
        "row": row,
    }


def tables_of(request: Shape) -> list[tuple[str, str, Shape]]:
    [schema] = [found for found in request["catalog"]["schemas"] if found["name"] == "public"]
    return [
        (
            camel(table["rel"]["name"].removesuffix("s")),
            table["rel"]["name"],
            {column["name"]: type_of(column, request) for column in table["columns"]},
        )
        for table in schema["tables"]
    ]


def type_of(column: Shape, request: Shape) -> str:
    named = ".".join(filter(None, (column["type"]["schema"], column["type"]["name"])))
    [schema] = [found for found in request["catalog"]["schemas"] if found["name"] == "public"]
    enums = {enum["name"]: camel(enum["name"]) for enum in schema["enums"]}
    type_ = enums.get(named) or TYPES.get(named, "Any")
    if column["is_array"]:
        type_ = f"list[{type_}]"
    return type_ if column["not_null"] or type_ == "Any" else f"{type_} | None"


def row_of(module: ModuleType, method: str, command: str) -> tuple[str, Shape] | None:
    """What a method of ours answers with: a class and its fields, or the type of a value."""
    returned = inspect.signature(getattr(module.Querier, method)).return_annotation
    if command == ":exec":
        assert returned is None
        return None
    if command == ":many":
        [returned] = get_args(returned)
    elif None not in get_args(returned):
        returned = next(arm for arm in get_args(returned) if arm is not type(None))
    if isinstance(returned, type) and issubclass(returned, BaseModel):
        within = "models." if returned.__module__ == "taskq_sql.models" else ""
        return within + returned.__name__, fields_of(returned)
    return told_type(returned), {}


def told_type(annotation: Any) -> str:
    """A type as ``type_of`` writes it."""
    arms = get_args(annotation)
    if get_origin(annotation) is list:
        return f"list[{told_type(arms[0])}]"
    if arms and Any not in arms:
        return " | ".join("None" if arm is type(None) else told_type(arm) for arm in arms)
    return "Any" if arms else str(annotation.__name__)


def fields_of(model: type[BaseModel]) -> Shape:
    return {name: told_type(field.annotation) for name, field in model.model_fields.items()}


def classes_of(module: ModuleType, name: str) -> Shape:
    found: Iterator[type[BaseModel]] = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, BaseModel)
    )
    return {each.__name__: fields_of(each) for each in found if each.__module__.endswith(name)}


def snake(name: str) -> str:
    broken = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z0-9])([A-Z])", r"\1_\2", broken).lower()


def camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
