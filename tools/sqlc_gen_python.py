#!/usr/bin/env python3
"""A plugin of sqlc that writes typed Python: ``models.py``, and a module per file of queries.

``sqlc generate`` runs it by sqlc.yaml: sqlc's reading of the schema and the queries comes in as JSON, the
files go out as JSON. It stands in for sqlc-gen-python, which cannot be had everywhere (docs/sql.md). That
one is a drop-in replacement: the constants, methods, parameters, models and rows are those that it writes.
Beyond that this plugin

- refuses what the other one cannot write (a backslash), or writes without a type (``Any``, ``dollar_1``);
- carries the comments above a query into its method's docstring;
- makes a value that is an enum in PostgreSQL one in Python;
- parses the statements once, when the module is imported, rather than at each call.

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
    table: _Name | None
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


# What psycopg makes of PostgreSQL's types, as sqlc names them. sqlc-gen-python knows more, and not all that
# psycopg does: a "name" or an "oid" is Any there.
PYTHON_TYPES = {
    "boolean": "bool",
    "pg_catalog.bool": "bool",
    "smallint": "int",
    "pg_catalog.int2": "int",
    "integer": "int",
    "pg_catalog.int4": "int",
    "bigint": "int",
    "pg_catalog.int8": "int",
    "real": "float",
    "pg_catalog.float4": "float",
    "double precision": "float",
    "pg_catalog.float8": "float",
    "pg_catalog.numeric": "decimal.Decimal",
    "text": "str",
    "pg_catalog.varchar": "str",
    "uuid": "uuid.UUID",
    "date": "datetime.date",
    "timestamptz": "datetime.datetime",
    "pg_catalog.timestamp": "datetime.datetime",
    "pg_catalog.timestamptz": "datetime.datetime",
    "interval": "datetime.timedelta",
    "pg_catalog.interval": "datetime.timedelta",
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
    table: str
    fields: list[Field]


def field(column: _Column, enums: Iterable[str], place: str, package: str = "models.") -> Field:
    """A column or a parameter in Python; ``place`` says where it stands, for a refusal."""
    name = ".".join(filter(None, (column["type"]["schema"], column["type"]["name"])))
    if not column["name"]:
        raise SystemExit(f"{place}: a column or parameter has no name: give it one with AS or @")
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
    for enum in sorted(schema["enums"], key=lambda enum: camel(enum["name"])):
        place = f"type {enum['name']}"
        body += ["", "", f"class {camel(enum['name'])}(enum.StrEnum):"]
        body += [*docstring([writable(enum["comment"], place)], "    "), ""]
        body += [f'    {value.upper()} = "{value}"' for value in enum["vals"]]
    for table in sorted(schema["tables"], key=lambda table: camel(table["rel"]["name"])):
        place = f"table {table['rel']['name']}"
        name = camel(singular(table["rel"]["name"]))
        fields = [field(column, enums, place, package="") for column in table["columns"]]
        typed = [field(column, enums, place) for column in table["columns"]]
        tables.append(Model(name, table["rel"]["name"], typed))
        body += ["", "", f"class {name}(pydantic.BaseModel):"]
        body += [*docstring([writable(table["comment"], place)], "    "), ""]
        for (attribute, type_), column in zip(fields, table["columns"], strict=True):
            body += remark(writable(column["comment"], place), "    ")
            body += [f"    {attribute}: {type_}"]
    return tables, module(version, "The tables and enums of sql/migrations.", body)


def queries(
    filename: str, of_file: list[_Query], tables: list[Model], enums: set[str], request: Request
) -> str:
    """The module for one file of queries."""
    body: list[str] = []
    methods: list[str] = []
    for query in sorted(of_file, key=lambda query: snake(query["name"])):
        if query["cmd"] not in RESULTS:
            raise SystemExit(
                f"{query['name']}: {query['cmd']} is not known here: write {', '.join(sorted(RESULTS))}"
            )
        constant = snake(query["name"]).upper()
        place = f"query {query['name']}"
        body += ["", "", f'{constant} = """{statement(query)}"""']
        body += ["", f"_{constant} = sqlalchemy.text({constant})"]
        # What an :exec answers is thrown away, of whatever type it is.
        answered = [] if query["cmd"] == ":exec" else query["columns"]
        columns = [field(column, enums, place) for column in answered]
        # $1 comes first in the text, and here.
        parameters = [field(parameter["column"], enums, place) for parameter in query["params"]]
        for names in (columns, parameters):
            if len({name for name, _ in names}) < len(names):
                raise SystemExit(f"{place}: two columns or parameters have one name: rename one")
        row = row_type(query, columns, tables)
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


def row_type(query: _Query, columns: list[Field], tables: list[Model]) -> str:
    """The type of a row: a value if it is only one, a table's model if each column is the table's own.

    What passes through a WITH clause is no table's: its row is a class of the query's, whatever its shape.
    """
    if len(columns) == 1:
        return columns[0].type
    read = {column["table"] and column["table"]["name"] for column in query["columns"]}
    return next(
        (
            f"models.{table.name}"
            for table in tables
            if read == {table.table} and table.fields == columns
        ),
        f"{query['name']}Row",
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
    executed = f"self._conn.execute(_{constant}" + (f", {{{values}}})" if values else ")")
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
    text = writable(query["text"], f"query {query['name']}").replace(":", r"\\:")
    text = re.sub(r"\B\$(\d+)\b", r":p\1", text)
    return rf"-- name: {snake(query['name'])} \\{query['cmd']}" + f"\n{text}\n"


def writable(text: str, place: str) -> str:
    """A text that sqlc-gen-python can put between quotes as it is.

    Raises:
        SystemExit: It would end the quotes, or mean something else between them.
    """
    for mark in ("\\", '"""'):
        if mark in text:
            raise SystemExit(
                f"{place} contains {mark}, which sqlc-gen-python cannot write: write it otherwise, "
                "such as chr(92) or [0-9]"
            )
    return text


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


def singular(table: str) -> str:
    """taskq_jobs → taskq_job.

    Raises:
        SystemExit: sqlc-gen-python makes another word of it, by rules that are not here.
    """
    if re.search(
        r"(ss|us|is|ies|(?<!pau)ses|ves|oes|xes|hes|ices|news|[ti]a|people|men|children)$", table
    ):
        raise SystemExit(f"table {table}: its singular is not known here: choose a plainer name")
    return table.removesuffix("s")


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
