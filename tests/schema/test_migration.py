"""The files of migrations, and what is refused in their folder."""

import hashlib

import pytest

from taskq.exceptions import InvalidMigration
from taskq.schema import Phase, read_migrations
from taskq.schema.migration import statements_of
from tests.schema.conftest import COMING, Folder


def test_the_migrations_of_this_version_begin_with_the_first() -> None:
    first = read_migrations()[0]
    assert (first.version, first.name) == (1, "0001_pre_tables.sql")
    assert first.checksum == hashlib.sha256(first.sql).hexdigest()
    assert not first.is_concurrent


def test_the_name_of_a_migration_says_when_it_may_be_applied_and_its_text_how(
    folder: Folder,
) -> None:
    names = folder.add_coming()
    added = read_migrations(folder.path)[-len(COMING) :]
    assert [migration.name for migration in added] == names
    assert [migration.phase for migration in added] == [*[Phase.PRE] * 3, Phase.POST]
    assert [migration.is_concurrent for migration in added] == [False, True, False, False]


def test_concurrent_statements_are_told_apart_by_the_ends_of_their_lines() -> None:
    sql = "-- One; and\nDROP a\n  ; -- two\nCREATE INDEX b ON c (d)\nWHERE e = ';' ;\n\n"
    assert statements_of(sql) == ["DROP a", "CREATE INDEX b ON c (d)\nWHERE e = ';'"]


@pytest.mark.parametrize(
    "name", ["9.sql", "0009_add_note.sql", "0009_pre_Add.sql", "0009_late_x.sql"]
)
def test_a_name_that_does_not_say_when_is_refused(folder: Folder, name: str) -> None:
    (folder.path / name).write_text("SELECT 1;")
    with pytest.raises(
        InvalidMigration, match=f"'{name}' is no name of a migration: write 0002_pre"
    ):
        read_migrations(folder.path)


@pytest.mark.parametrize("offset", [0, 2])
def test_a_number_that_is_taken_or_left_out_is_refused(folder: Folder, offset: int) -> None:
    last = len(folder.real)
    (folder.path / f"{last + offset:04}_pre_zebra.sql").write_text("SELECT 1;")
    with pytest.raises(InvalidMigration, match=f"zebra.sql should have the number {last + 1:04}"):
        read_migrations(folder.path)


def test_concurrent_statements_and_others_are_kept_apart(folder: Folder) -> None:
    folder.add("pre_both", "CREATE INDEX CONCURRENTLY a ON b (c);\nALTER TABLE b ADD d text;")
    with pytest.raises(InvalidMigration, match="others, which should be, such as 'ALTER TABLE b"):
        read_migrations(folder.path)
