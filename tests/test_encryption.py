"""The keys of an app, and what they make of arguments and results."""

import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq import App, Blueprint, Limit
from taskq.encryption import (
    ENCRYPTED,
    KEYS_VARIABLE,
    Keyring,
    generate_key,
    is_encrypted,
)
from taskq.exceptions import (
    CiphertextMisplaced,
    EncryptionUnavailable,
    InvalidArguments,
    InvalidEncryptionKey,
    InvalidJob,
    InvalidLimit,
    InvalidResult,
    UnknownEncryptionKey,
)
from taskq.job import JobStatus
from tests.conftest import Face

# The same in each of xdist's workers, as they are in the names of tests.
OLD, NEW, OTHER = (urlsafe_b64encode(bytes([number]) * 32).decode() for number in range(3))
VALUE = "4111-1111"


@pytest.fixture
def app(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    with App(database_url, encryption_keys=[NEW, OLD]) as app:
        yield app


def test_what_is_encrypted_comes_back_and_does_not_show_what_it_is() -> None:
    keyring = Keyring([NEW])
    args: dict[str, Any] = {"card": VALUE, "ä": [1e300, None, 2**70, {"x": -0.5}]}
    stored = keyring.encrypt_arguments("pay", args)
    assert is_encrypted(stored)
    assert VALUE not in str(stored)
    assert keyring.decrypt_arguments("pay", stored) == args
    result = keyring.encrypt_result("pay", 7, None)
    assert is_encrypted(result)
    assert keyring.decrypt_result("pay", 7, result) is None


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    stored = Keyring([OLD]).encrypt_arguments("pay", {"a": 1})
    assert Keyring([NEW, OLD]).decrypt_arguments("pay", stored) == {"a": 1}
    newer = Keyring([NEW, OLD]).encrypt_arguments("pay", {"a": 1})
    assert Keyring([NEW]).decrypt_arguments("pay", newer) == {"a": 1}
    with pytest.raises(UnknownEncryptionKey, match="none of the app's encryption keys"):
        Keyring([OLD]).decrypt_arguments("pay", newer)


def test_a_token_by_another_key_is_encrypted_by_the_first() -> None:
    stored = Keyring([OLD]).encrypt_arguments("pay", {"a": 1})
    both = Keyring([NEW, OLD])
    rotated = both.rotated(stored)
    assert rotated
    assert Keyring([NEW]).decrypt_arguments("pay", rotated) == {"a": 1}
    assert both.rotated(rotated) is None
    with pytest.raises(UnknownEncryptionKey):
        Keyring([OTHER]).rotated(stored)


def test_a_token_in_another_row_is_refused() -> None:
    keyring = Keyring([NEW])
    args = keyring.encrypt_arguments("pay", {"amount": 1})
    result = keyring.encrypt_result("pay", 7, {"amount": 1})
    for read in (
        lambda: keyring.decrypt_arguments("refund", args),
        lambda: keyring.decrypt_arguments("pay", result),
        lambda: keyring.decrypt_result("pay", 8, result),
        lambda: keyring.decrypt_result("pay", 7, args),
    ):
        with pytest.raises(CiphertextMisplaced, match="belongs elsewhere"):
            read()


@pytest.mark.parametrize("token", [None, 7, "", "no token", "gAAAAAB" + "é", OLD])
def test_what_is_no_token_is_read_by_no_key(token: object) -> None:
    with pytest.raises(UnknownEncryptionKey):
        Keyring([NEW]).decrypt_arguments("pay", {ENCRYPTED: token})


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (NEW, "give a list of keys, the one to encrypt by first, and not a str"),
        (NEW.encode(), "not a bytes"),
        ({NEW}, "not a set"),
        (7, "not a int"),
        ([NEW, OLD[:-4]], "key 2 of 2 is none, as it"),
        ([""], "key 1 of 1 is none, as it has 0 bytes"),
        (["hunter2"], "key 1 of 1 is none, as it is no Base64"),
        (["hunter2é"], "key 1 of 1 is none, as it is no Base64"),
        ([None], "as it is a NoneType"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(keys: Any, said: str) -> None:
    with pytest.raises(InvalidEncryptionKey) as refused:
        App("postgresql://localhost/none", encryption_keys=keys)
    assert said in str(refused.value)
    assert refused.value.__cause__ is None
    for key in (NEW, OLD[:-4], "hunter2"):
        assert key not in str(refused.value)


def test_keys_come_from_the_environment_if_none_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, f" {NEW}, {OLD} ,")
    stored = Keyring([OLD]).encrypt_arguments("pay", {})
    assert Keyring().decrypt_arguments("pay", stored) == {}
    monkeypatch.setenv(KEYS_VARIABLE, "hunter2")
    with pytest.raises(InvalidEncryptionKey, match=f"{KEYS_VARIABLE}: key 1 of 1") as refused:
        Keyring().check("it")
    assert "hunter2" not in str(refused.value)
    with pytest.raises(EncryptionUnavailable):
        Keyring([]).check("it")


def test_keys_come_from_a_function_that_is_called_when_they_are_needed() -> None:
    called: list[bool] = []

    def keys() -> list[str]:
        called.append(True)
        return [NEW]

    keyring = Keyring(keys)
    assert not called
    stored = keyring.encrypt_arguments("pay", {})
    assert keyring.decrypt_arguments("pay", stored) == {}
    assert called == [True]

    def broken() -> list[str]:
        raise ValueError(NEW)

    with pytest.raises(EncryptionUnavailable, match="raised ValueError") as refused:
        Keyring(broken).check("it")
    error: BaseException | None = refused.value
    while error is not None:
        assert NEW not in str(error)
        error = error.__cause__ or error.__context__
    with pytest.raises(InvalidEncryptionKey, match="not a str"):
        Keyring(lambda: NEW).check("it")


def test_an_app_shows_no_key(app: App) -> None:
    for shown in (app, app.job_manager, app.job_manager.keyring):
        assert NEW not in repr(shown)
        assert NEW not in str(vars(shown).values())


def test_where_the_package_is_missing_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    for ask in (lambda: Keyring([NEW]).check("it"), generate_key):
        with pytest.raises(EncryptionUnavailable, match=r"pip install 'taskq-sql\[encryption\]'"):
            ask()


def test_who_encrypts_nothing_does_not_import_the_package() -> None:
    code = (
        "import sys, taskq, taskq.cli.program; "
        "taskq.App('postgresql://localhost/none'); "
        "sys.exit(any(name.startswith('cryptography') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_arguments_are_stored_encrypted_and_read_by_the_task(app: App, face: Face) -> None:
    @app.task(name="pay", aliases=["buy"], encrypted=True)
    def pay(card: str, amount: int = 3) -> None: ...

    manager = app.job_manager
    ids = [
        await face.defer(pay, card=VALUE),
        await face.defer(pay.configure(task_kwargs={"card": VALUE}), amount=4),
        *await face.batch(pay, pay.args(card=VALUE), {"card": VALUE, "amount": 5}),
        await face.defer(app.configure_task("buy"), card=VALUE),
    ]
    jobs = [manager.get_job(id_) for id_ in ids]
    assert all(is_encrypted(job.task_kwargs) for job in jobs)
    assert VALUE not in repr(jobs)
    assert len({str(job.task_kwargs) for job in jobs}) == len(jobs), "the same twice is not seen"
    assert [pay.arguments_of(job).get("amount") for job in jobs] == [None, 4, None, 5, None]
    assert {pay.arguments_of(job)["card"] for job in jobs} == {VALUE}
    assert VALUE not in repr(pay.configure(task_kwargs={"card": VALUE}))


async def test_arguments_of_another_tasks_job_are_not_read(app: App) -> None:
    @app.task(name="pay", encrypted=True)
    def pay(card: str) -> None: ...

    @app.task(name="plain")
    def plain(card: str) -> None: ...

    job = app.job_manager.get_job(plain.defer(card="x"))
    assert plain.arguments_of(job) == {"card": "x"}
    with pytest.raises(InvalidArguments, match="job 1 is one of task 'plain', and not of 'pay'"):
        pay.arguments_of(job)


async def test_without_keys_nothing_is_deferred_and_no_worker_starts(
    database_url: str, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    async with App(database_url) as app:

        @app.task(name="pay", encrypted=True)
        def pay(card: str) -> None: ...

        with pytest.raises(EncryptionUnavailable, match=r"App\(encryption_keys=\[…\]\)"):
            await face.defer(pay, card=VALUE)
        with pytest.raises(EncryptionUnavailable, match="task 'pay' is declared with encrypted"):
            await app.run_worker_async(wait=False)
        assert app.job_manager.count_jobs() == {}


def test_a_limit_by_an_argument_would_show_it(app: App) -> None:
    by_card, all_cards = Limit("card", concurrency=1, by="card"), Limit("all", concurrency=1)
    with pytest.raises(InvalidLimit, match="the limit's key would show the value"):

        @app.task(name="charge", encrypted=True, limit=by_card)
        def charge(card: str) -> None: ...

    @app.task(name="pay", encrypted=True, limit=all_cards)
    def pay(card: str) -> None: ...

    with pytest.raises(InvalidLimit, match="the limit's key would show the value"):
        pay.configure(limit=by_card)
    job = app.job_manager.get_job(pay.configure(limit_key="visa").defer(card=VALUE))
    assert job.limit_key == "all:visa"


def test_a_name_of_an_argument_cannot_stand_for_encrypted_ones(app: App) -> None:
    @app.task(name="any", store_result=True)
    def anything(**kwargs: Any) -> Any: ...

    with pytest.raises(InvalidArguments, match="stands for arguments that are encrypted"):
        anything.defer(**{ENCRYPTED: "x"})
    with pytest.raises(InvalidArguments, match="stands for arguments that are encrypted"):
        app.configure_task("of another program").defer(**{ENCRYPTED: "x"})
    assert anything.returns
    with pytest.raises(InvalidResult, match="stands for a result that is encrypted"):
        anything.returns.dump({ENCRYPTED: "x"})
    assert anything.returns.dump({ENCRYPTED: "x", "more": 1})


def test_encrypted_says_yes_or_no(app: App) -> None:
    with pytest.raises(InvalidJob, match="give True or False, and the keys to the app"):
        app.task(encrypted=NEW)(len)  # type: ignore[call-overload]


class Picky(str):
    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core.core_schema import no_info_plain_validator_function  # noqa: PLC0415

        def refuse(value: object) -> object:
            raise RuntimeError(f"no such card as {value}")

        return no_info_plain_validator_function(refuse)


Call = Callable[[Any], object]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda task: task.defer(amount=VALUE), "argument 'amount' got what does not fit it"),
        (lambda task: task.defer(amount=1, when=VALUE), "argument 'when' got what does not fit"),
        (lambda task: task.defer(amount=1, picky=VALUE), "argument 'picky' got what"),
        (lambda task: task.defer(amount=1, names={VALUE: "x"}), "argument 'names' got what"),
        (lambda task: task.defer(amount=1, names={"a": float("nan")}), "argument 'names' got"),
        (lambda task: task.defer(**{"amount": 1, VALUE: 1}), "an argument is unknown"),
        (lambda task: task.defer(amount=1, amuont=VALUE), "unknown, did you mean 'amount'?"),
        (lambda task: task.defer(VALUE), "got 1 by position; it takes"),
        (lambda task: task.args(VALUE), "got 1 by position; it takes"),
        (lambda task: task.batch_defer([VALUE]), "a list is neither task.args"),
        (lambda task: task.batch_defer({"amount": VALUE}), "call 0 of the batch"),
        (lambda task: task.configure(task_kwargs={"amount": VALUE}).defer(), "argument 'amount'"),
        (lambda task: task.configure(task_kwargs=[VALUE]), "got task_kwargs=a list"),
    ],
)
def test_no_refusal_shows_a_value_nor_what_it_comes_from(app: App, call: Call, said: str) -> None:
    from datetime import datetime  # noqa: PLC0415

    @app.task(name="pay", encrypted=True)
    def pay(
        amount: int,
        when: datetime | None = None,
        picky: Picky | None = None,
        names: dict[str, float] | None = None,
    ) -> None: ...

    with pytest.raises((InvalidArguments, InvalidJob)) as refused:
        call(pay)
    assert said in str(refused.value)
    waiting: list[BaseException | None] = [refused.value]
    while waiting:
        if (error := waiting.pop()) is not None:
            assert VALUE not in f"{error!r}{error}{error.args}{getattr(error, '__notes__', '')}"
            waiting += [error.__cause__, error.__context__]


def test_a_blueprints_periodic_task_needs_its_keys_when_it_is_deferred(
    database_url: str, connection: Any
) -> None:
    blueprint = Blueprint()

    @blueprint.periodic(cron="0 0 1 1 *")
    @blueprint.task(name="close", encrypted=True)
    def close(timestamp: int) -> None: ...

    with App(database_url, encryption_keys=[NEW]) as app:
        app.add_tasks_from(blueprint, namespace="books")
        [period] = app.periodics
        job = period.job(1_700_000_000)
        assert job.task_name == "books:close"
        assert is_encrypted(job.args)
        id_ = close.defer()
        assert close.arguments_of(app.job_manager.get_job(id_))["timestamp"] > 0


def test_what_another_key_encrypted_is_rotated_unless_it_runs(
    database_url: str, connection: Any
) -> None:
    with App(database_url, encryption_keys=[OLD]) as old:

        @old.task(name="pay", encrypted=True, store_result=True)
        def pay(card: str) -> str:
            return card

        @old.task(name="plain")
        def plain(card: str) -> None: ...

        done = pay.defer(card=VALUE)
        old.run_worker(wait=False)
        waits, runs, gone = (pay.defer(card=VALUE) for _ in range(3))
        plain.defer(card="x")
        connection.execute(
            "UPDATE taskq_jobs SET status = 'doing', worker_id = 1 WHERE id = %s", [runs]
        )
        old.job_manager.cancel_job_by_id(gone)
    with App(database_url, encryption_keys=[OTHER]) as other:
        rotation = other.job_manager.rotate_encryption_keys()
        assert (rotation.jobs, rotation.running, rotation.unknown) == (0, 0, 4)
    with App(database_url, encryption_keys=[NEW, OLD]) as both:
        rotation = both.job_manager.rotate_encryption_keys()
        assert (rotation.jobs, rotation.running, rotation.unknown) == (3, 1, 0)
        rotation = both.job_manager.rotate_encryption_keys()
        assert (rotation.jobs, rotation.running, rotation.unknown) == (0, 1, 0)
    with App(database_url, encryption_keys=[NEW]) as new:
        again = new.task(name="pay", encrypted=True, store_result=True)(pay.func)
        jobs = {id_: new.job_manager.get_job(id_) for id_ in (done, waits, runs, gone)}
        assert again.result(jobs[done]) == VALUE
        for id_ in (done, waits, gone):
            assert again.arguments_of(jobs[id_]) == {"card": VALUE}
        with pytest.raises(UnknownEncryptionKey):
            again.arguments_of(jobs[runs])
        assert jobs[waits].status is JobStatus.TODO


async def test_the_async_rotation_is_the_same_and_needs_keys(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    async with App(database_url, encryption_keys=[OLD]) as old:

        @old.task(name="pay", encrypted=True)
        def pay(card: str) -> None: ...

        await pay.batch_defer_async(*({"card": VALUE} for _ in range(1_200)))
    async with App(database_url, encryption_keys=[NEW, OLD]) as both:
        assert (await both.job_manager.rotate_encryption_keys_async()).jobs == 1_200
    async with App(database_url) as none:
        with pytest.raises(EncryptionUnavailable):
            await none.job_manager.rotate_encryption_keys_async()
