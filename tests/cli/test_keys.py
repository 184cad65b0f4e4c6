"""The commands about keys, and what the others show of encrypted jobs."""

import sys
from collections.abc import Sequence

import pytest

from taskq import JobManager
from taskq.encryption import KEYS_VARIABLE, Keyring, generate_key, is_encrypted
from tests.cli.conftest import Taskq

OLD, NEW, OTHER = generate_key(), generate_key(), generate_key()
VALUE = "4111-1111-1111"
VAULT = ("--app", "tests.cli.vault:app")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, OLD)
    # Its app is on the database, and has the keys, of the test that imported it.
    monkeypatch.delitem(sys.modules, "tests.cli.vault", raising=False)


def defer(taskq: Taskq, arguments: str, *options: str) -> int:
    sys.modules.pop("tests.cli.vault", None)
    return int(taskq("defer", *VAULT, "pay", arguments, *options).stdout)


def test_a_key_that_is_generated_is_one_and_another_each_time(taskq: Taskq) -> None:
    made = [taskq("keys", "generate").stdout.strip() for _ in range(2)]
    assert made[0] != made[1]
    Keyring(made).check("it")


def test_without_the_package_it_says_what_to_install(
    taskq: Taskq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    done = taskq("keys", "generate")
    assert done.exit_code == 2
    assert "pip install 'taskq-sql[encryption]'" in done.stderr


def test_no_command_shows_what_is_encrypted(taskq: Taskq, manager: JobManager) -> None:
    ids = [
        defer(taskq, f'{{"card": "{VALUE}"}}'),
        defer(taskq, f'{{"card": "{VALUE}", "amount": 0}}'),
        defer(taskq, f'{{"card": "{VALUE}"}}', "--in", "1h"),
    ]
    said = []

    def run(*arguments: str) -> None:
        done = taskq(*arguments)
        said.append(f"{arguments} {done.stdout} {done.stderr} {done.exception!r}")

    run("worker", *VAULT, "--no-wait", "-v")
    assert [manager.get_job_status(id_).value for id_ in ids] == ["succeeded", "failed", "todo"]
    for id_ in map(str, ids):
        run("jobs", "show", id_)
        run("jobs", "show", id_, "--json")
    for command in (
        ["jobs", "list"],
        ["jobs", "list", "--json"],
        ["tasks", "list", *VAULT, "--schema", "--json"],
        ["queues", "list"],
        ["doctor", *VAULT, "-v"],
        ["doctor", *VAULT, "--json"],
        ["periodic", "list", *VAULT],
        ["jobs", "retry", str(ids[1]), "-v"],
        ["jobs", "delete", str(ids[1]), "--yes", "-v"],
    ):
        run(*command)
    assert VALUE not in "\n".join(said)
    assert "gAAAA" in "\n".join(said)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (f'{{"card": "{VALUE}", "amount": "{VALUE}"}}', "argument 'amount' got what does not"),
        (f'{{"card": "{VALUE}", "amuont": 1}}', "did you mean 'amount'?"),
        (f'{{"card": ["{VALUE}"]}}', "argument 'card' got what does not fit it"),
        (f'{{"card": "{VALUE}"', "is not JSON"),
        (f'["{VALUE}"]', "is not a JSON object, but a list"),
        (VALUE, "is not JSON"),
    ],
)
def test_a_refusal_does_not_show_what_was_given(taskq: Taskq, arguments: str, says: str) -> None:
    for options in ([], ["-v"]):
        done = taskq("defer", *VAULT, "pay", arguments, *options)
        assert done.exit_code == 2
        assert says in done.stderr
        assert VALUE not in done.stdout + done.stderr


def test_without_keys_nothing_is_deferred(taskq: Taskq, manager: JobManager) -> None:
    done = taskq("defer", *VAULT, "pay", '{"card": "x"}', env={KEYS_VARIABLE: ""})
    assert done.exit_code == 2
    assert "`python -m taskq keys generate` prints one" in done.stderr
    assert manager.count_jobs() == {}


@pytest.mark.parametrize("app", [(), VAULT], ids=["by the environment", "by the app"])
def test_what_waits_is_encrypted_by_the_first_key(
    taskq: Taskq, manager: JobManager, app: Sequence[str]
) -> None:
    job_id = defer(taskq, f'{{"card": "{VALUE}"}}')
    sys.modules.pop("tests.cli.vault", None)
    done = taskq("keys", "rotate", *app, env={KEYS_VARIABLE: f"{NEW},{OLD}"})
    assert (done.exit_code, done.stdout, done.stderr) == (0, "encrypted anew: 1 job\n", "")
    stored = manager.get_job(job_id).task_kwargs
    assert is_encrypted(stored)
    assert Keyring([NEW]).decrypt_arguments("pay", stored)["card"] == VALUE


def test_it_says_what_it_leaves_as_it_is(taskq: Taskq, connection: object) -> None:
    defer(taskq, f'{{"card": "{VALUE}"}}')
    done = taskq("keys", "rotate", env={KEYS_VARIABLE: OTHER})
    assert done.stdout == "encrypted anew: 0 jobs\n"
    assert done.stderr == "left as they are: 1 job that none of the keys decrypts\n"


def test_a_key_that_is_none_is_named_by_its_place_and_not_shown(taskq: Taskq) -> None:
    done = taskq("keys", "rotate", env={KEYS_VARIABLE: f"{NEW},hunter2"})
    assert done.exit_code == 2
    assert f"{KEYS_VARIABLE}: key 2 of 2 is none" in done.stderr
    assert "hunter2" not in done.stderr
    assert NEW not in done.stderr
