"""The SQL files, seen through sqlc and a real server."""

from tests.sql.sqlc import run_sqlc


def test_every_query_prepares_on_a_real_server(database_url: str) -> None:
    uri = database_url.replace("postgresql+psycopg://", "postgresql://")
    assert run_sqlc("vet", TASKQ_VET_DATABASE_URI=uri) == (0, "")


def test_what_is_generated_is_what_the_sql_says() -> None:
    assert run_sqlc("diff") == (0, "")
