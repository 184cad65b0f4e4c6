"""The SQL files, seen through sqlc and a real server."""

import os
import subprocess

from tests.sql.sqlc import ROOT


def sqlc(*arguments: str, **environment: str) -> tuple[int, str]:
    run = subprocess.run(
        ["sqlc", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


def test_every_query_prepares_on_a_real_server(database_url: str) -> None:
    uri = database_url.replace("postgresql+psycopg://", "postgresql://")
    assert sqlc("vet", TASKQ_VET_DATABASE_URI=uri) == (0, "")


def test_what_is_generated_is_what_the_sql_says() -> None:
    assert sqlc("diff") == (0, "")
