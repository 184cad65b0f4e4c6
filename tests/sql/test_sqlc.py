"""The SQL files, seen through sqlc and a real server."""

import os
import subprocess

from tests.sql.sqlc import ROOT, Query


def test_every_query_prepares_on_a_real_server(database_url: str) -> None:
    uri = database_url.replace("postgresql+psycopg://", "postgresql://")
    vet = subprocess.run(
        ["sqlc", "vet"],
        cwd=ROOT,
        env=os.environ | {"TASKQ_VET_DATABASE_URI": uri},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (vet.returncode, vet.stdout + vet.stderr) == (0, "")


def test_sqlc_knows_the_type_of_every_parameter_and_column(queries: dict[str, Query]) -> None:
    borders = [
        (query.name, column.name, column.type)
        for query in queries.values()
        for column in (*query.parameters, *query.columns)
    ]
    assert borders
    assert [border for border in borders if border[2] in {"any", ""}] == []
