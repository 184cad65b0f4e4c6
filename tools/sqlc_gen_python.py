#!/usr/bin/env python3
"""A plugin of sqlc that writes typed Python: ``models.py``, and a module per file of queries.

``sqlc generate`` runs it by sqlc.yaml: sqlc's reading of the schema and the queries comes in as JSON, the
files go out as JSON. It stands in for sqlc-gen-python, which cannot be had everywhere (docs/sql.md), and
its modules are used alike: pydantic models, a ``StrEnum`` per enum, and a ``Querier`` on a SQLAlchemy
connection with keyword parameters. Beyond that it

- refuses a query of which sqlc does not know a type, where Python would get ``Any``;
- carries the comments above a query into its method's docstring;
- prepares the statements once, when the module is imported, rather than at each call.

It needs nothing but the standard library, so that whichever Python is first on the path can run it.
"""

import base64
import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypedDict


class _Name(TypedDict):
    schema: str
    name: str


class _Column(TypedDict):
    name: str
    not_null: bool
    is_array: bool
    comment: str
    type: _Name


class _Table(TypedDict):
    rel: _Name
    columns: list[_Column]
    comment: str


class _Enum(TypedDict):
    name: str
    vals: list[str]
    comment: str


class _Schema(TypedDict):
    name: str
    tables: list[_Table]
    enums: list[_Enum]


class _Catalog(TypedDict):
    default_schema: str
    schemas: list[_Schema]


class _Parameter(TypedDict):
    number: int
    column: _Column


class _Query(TypedDict):
    text: str
    name: str
    cmd: str
    columns: list[_Column]
    params: list[_Parameter]
    comments: list[str]
    filename: str


class Request(TypedDict):
    """As much as is used of what sqlc sends."""

    catalog: _Catalog
    queries: list[_Query]
    sqlc_version: str
    plugin_options: str


# What psycopg makes of PostgreSQL's types; sqlc writes some of them in several ways.
PYTHON_TYPES = {
    "bool": "bool",
    "boolean": "bool",
    "int2": "int",
    "smallint": "int",
    "int4": "int",
    "integer": "int",
    "int8": "int",
    "bigint": "int",
    "oid": "int",
    "float4": "float",
    "real": "float",
    "float8": "float",
    "double precision": "float",
    "numeric": "decimal.Decimal",
    "text": "str",
    "varchar": "str",
    "bpchar": "str",
    "name": "str",
    "bytea": "bytes",
    "uuid": "uuid.UUID",
    "date": "datetime.date",
    "time": "datetime.time",
    "timestamp": "datetime.datetime",
    "timestamptz": "datetime.datetime",
    "interval": "datetime.timedelta",
    "json": "Any",
    "jsonb": "Any",
}

RESULTS = {":one", ":many", ":exec"}

WIDTH = 100


class Field(NamedTuple):
    """A column or a parameter in Python."""

    name: str
    type: str


class Model(NamedTuple):
    """A table in Python."""

    name: str
    fields: list[Field]


def field(column: _Column, enums: Iterable[str], place: str, package: str = "models.") -> Field:
    """A column or a parameter in Python; ``place`` says where it stands, for a refusal."""
    name = column["type"]["name"]
    if name in enums:
        python = package + camel(name)
    elif name in PYTHON_TYPES:
        python = PYTHON_TYPES[name]
    else:
        raise SystemExit(
            f"{place}: the type of {column['name']} is {name or 'unknown'}, for which there is no "
            "Python type: cast it in the SQL, or add the type to tools/sqlc_gen_python.py"
        )
    if column["is_array"]:
        python = f"list[{python}]"
    if not column["not_null"] and python != "Any":
        python += " | None"
    return Field(column["name"], python)


def models(schema: _Schema, version: str) -> tuple[list[Model], str]:
    """The tables, and the module with their models."""
    enums = {enum["name"] for enum in schema["enums"]}
    tables: list[Model] = []
    body: list[str] = []
    for enum in schema["enums"]:
        body += ["", "", f"class {camel(enum['name'])}(enum.StrEnum):"]
        body += [*docstring([enum["comment"]], "    "), ""]
        body += [f'    {value.upper()} = "{value}"' for value in enum["vals"]]
    for table in schema["tables"]:
        name = camel(table["rel"]["name"].removesuffix("s"))
        place = f"table {table['rel']['name']}"
        fields = [field(column, enums, place, package="") for column in table["columns"]]
        tables.append(Model(name, [field(column, enums, place) for column in table["columns"]]))
        body += ["", "", f"class {name}(pydantic.BaseModel):"]
        body += [*docstring([table["comment"]], "    "), ""]
        for (attribute, type_), column in zip(fields, table["columns"], strict=True):
            body += remark(column["comment"], "    ")
            body += [f"    {attribute}: {type_}"]
    return tables, module(version, "The tables and enums of sql/migrations.", body)


def queries(
    filename: str, of_file: list[_Query], tables: list[Model], enums: set[str], request: Request
) -> str:
    """The module for one file of queries."""
    body: list[str] = []
    methods: list[str] = []
    for query in sorted(of_file, key=lambda query: query["name"]):
        if query["cmd"] not in RESULTS:
            raise SystemExit(
                f"{query['name']}: {query['cmd']} is not known here: write {', '.join(sorted(RESULTS))}"
            )
        constant = snake(query["name"]).upper()
        body += ["", "", f'{constant} = sqlalchemy.text(r"""{statement(query)}""")']
        place = f"query {query['name']}"
        # What an :exec answers is thrown away, of whatever type it is.
        answered = [] if query["cmd"] == ":exec" else query["columns"]
        columns = [field(column, enums, place) for column in answered]
        parameters = [
            field(parameter["column"], enums, place)
            for parameter in sorted(query["params"], key=lambda parameter: parameter["number"])
        ]
        row = row_type(query["name"], columns, tables)
        if len(columns) > 1 and not row.startswith("models."):
            body += ["", "", f"class {row}(pydantic.BaseModel):"]
            body += [f"    {name}: {type_}" for name, type_ in columns]
        methods += ["", *method(query, constant, row, columns, parameters)]
    body += [
        "",
        "",
        "class Querier:",
        f'    """The queries of {filename}, on one connection."""',
        "",
    ]
    body += ["    def __init__(self, conn: sqlalchemy.Connection) -> None:"]
    body += ["        self._conn = conn"]
    package = json.loads(base64.b64decode(request["plugin_options"]))["package"]
    return module(
        request["sqlc_version"], f"The queries of sql/queries/{filename}.", body + methods, package
    )


def row_type(query: str, columns: list[Field], tables: list[Model]) -> str:
    """The type of a row: a table's model if it has just its columns, a value if it is only one."""
    if len(columns) == 1:
        return columns[0].type
    return next(
        (f"models.{table.name}" for table in tables if table.fields == columns), f"{query}Row"
    )


def method(
    query: _Query, constant: str, row: str, columns: list[Field], parameters: list[Field]
) -> Iterator[str]:
    """The lines of a query's method."""
    returned = {
        ":one": row if row.endswith("| None") else f"{row} | None",
        ":many": f"Iterator[{row}]",
        ":exec": "None",
    }[query["cmd"]]
    yield f"    def {snake(query['name'])}("
    yield "        self,"
    if parameters:
        yield "        *,"
    for name, type_ in parameters:
        yield f"        {name}: {type_},"
    yield f"    ) -> {returned}:"
    yield from docstring([line.removeprefix(" ") for line in query["comments"]], "        ")
    values = ", ".join(f'"p{number}": {name}' for number, (name, _) in enumerate(parameters, 1))
    executed = f"self._conn.execute({constant}" + (f", {{{values}}})" if values else ")")
    if query["cmd"] == ":exec":
        yield f"        {executed}"
    elif query["cmd"] == ":one":
        yield f"        row = {executed}.first()"
        yield "        if row is None:"
        yield "            return None"
        yield from made(row, columns, "        return ")
    else:
        yield f"        for row in {executed}:"
        yield from made(row, columns, "            yield ")


def made(row: str, columns: list[Field], before: str) -> Iterator[str]:
    """The lines that make a row of what came back."""
    indent = " " * (len(before) - len(before.lstrip()))
    if len(columns) == 1:
        value = f"{row}(row[0])" if row.startswith("models.") and "None" not in row else "row[0]"
        # Annotated, as SQLAlchemy does not know what a statement of text answers.
        yield f"{indent}value: {row} = {value}"
        yield f"{before}value"
    else:
        yield f"{before}{row}("
        for position, (name, _) in enumerate(columns):
            yield f"{indent}    {name}=row[{position}],"
        yield f"{indent})"


def statement(query: _Query) -> str:
    """A query's text as SQLAlchemy takes it, where a colon is the mark of a parameter."""
    if '"""' in query["text"]:
        raise SystemExit(f'query {query["name"]} contains """, which ends the string it is put in')
    escaped = query["text"].replace(":", r"\:")
    return re.sub(r"\$(\d+)", r":p\1", escaped) + "\n"


def module(version: str, says: str, body: list[str], package: str | None = None) -> str:
    """A module with the imports that its body needs."""
    text = "\n".join(body)
    lines = ["# Code generated by sqlc. DO NOT EDIT.", "# versions:", f"#   sqlc {version}"]
    lines += [f'"""{says}"""', ""]
    standard = ("datetime", "decimal", "enum", "uuid")
    lines += [f"import {name}" for name in standard if re.search(rf"\b{name}\.", text)]
    if "Iterator[" in text:
        lines += ["from collections.abc import Iterator"]
    if re.search(r"\bAny\b", text):
        lines += ["from typing import Any"]
    if lines[-1]:
        lines += [""]
    lines += [f"import {name}" for name in ("pydantic", "sqlalchemy") if f"{name}." in text]
    if package and "models." in text:
        lines += ["", f"from {package} import models"]
    return "\n".join(lines) + "\n" + text + "\n"


def docstring(comment: list[str], indent: str) -> list[str]:
    """The lines of a docstring, or none; as they were written, for they may be a table."""
    text = "\n".join(comment).replace("\\", "\\\\").replace('"""', "'''").strip()
    lines = text.split("\n") if "\n" in text else textwrap.wrap(text, WIDTH - len(indent) - 6)
    if not lines:
        return []
    quoted = (
        f'"""{lines[0]}"""' if len(lines) == 1 else "\n".join(['"""' + lines[0], *lines[1:], '"""'])
    )
    return textwrap.indent(quoted, indent).split("\n")


def remark(comment: str, indent: str) -> list[str]:
    """The lines of a comment."""
    before = f"{indent}# "
    return textwrap.wrap(comment, WIDTH, initial_indent=before, subsequent_indent=before)


def camel(name: str) -> str:
    """taskq_job_status → TaskqJobStatus."""
    return "".join(part.capitalize() for part in name.split("_"))


def snake(name: str) -> str:
    """ClaimJobs → claim_jobs."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def generate(request: Request) -> dict[str, str]:
    """The files, each by its name."""
    default = request["catalog"]["default_schema"]
    [schema] = [found for found in request["catalog"]["schemas"] if found["name"] == default]
    tables, models_module = models(schema, request["sqlc_version"])
    enums = {enum["name"] for enum in schema["enums"]}
    files = {
        "__init__.py": "# Code generated by sqlc. DO NOT EDIT.\n",
        "models.py": models_module,
        "py.typed": "",
    }
    for filename in sorted({query["filename"] for query in request["queries"]}):
        of_file = [query for query in request["queries"] if query["filename"] == filename]
        files[filename.removesuffix(".sql") + ".py"] = queries(
            filename, of_file, tables, enums, request
        )
    return files


def main() -> None:
    """Answer sqlc."""
    request: Request = json.load(sys.stdin)
    files = [
        {"name": name, "contents": base64.b64encode(text.encode()).decode()}
        for name, text in generate(request).items()
    ]
    json.dump({"files": files}, sys.stdout)


if __name__ == "__main__":
    main()
