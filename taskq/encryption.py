"""Encryption of arguments and results: the keys of an app, and what is stored in place of a value.

What is stored is a JSON object with one name, ``$encrypted``, and a Fernet token. Inside of the token, next
to the value, is what it belongs to: arguments to their task, a result to its task and job. So a token that
is moved to a row of another task is refused, although a key decrypts it.
"""

import json
import os
from base64 import urlsafe_b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from pydantic import JsonValue
from pydantic_core import from_json

from taskq.exceptions import (
    CiphertextMisplaced,
    EncryptionUnavailable,
    InvalidEncryptionKey,
    UnknownEncryptionKey,
)

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

# No parameter can be called so, and no argument may.
ENCRYPTED = "$encrypted"

KEYS_VARIABLE = "TASKQ_ENCRYPTION_KEYS"

_KEY_LENGTH = 32  # bytes, which are 44 characters

_GENERATE = "`python -m taskq keys generate` prints one"

Keys: TypeAlias = Sequence[str | bytes]
EncryptionKeys: TypeAlias = Keys | Callable[[], Keys]


def is_encrypted(stored: object) -> bool:
    """Whether stored arguments, or a stored result, are encrypted."""
    return type(stored) is dict and len(stored) == 1 and ENCRYPTED in stored


class Keyring:
    """The keys of an app: the first one encrypts, and each of them decrypts.

    Args:
        keys: As ``Fernet.generate_key`` makes them, or what answers them when they are first needed; None:
            what ``TASKQ_ENCRYPTION_KEYS`` has then, with commas between them.

    Raises:
        InvalidEncryptionKey: One is none.
    """

    def __init__(self, keys: EncryptionKeys | None = None) -> None:
        self._given: Callable[[], Keys] | None = None
        if callable(keys):
            self._given = partial(_answered, keys)
        elif keys is not None:
            checked = _checked(keys, "encryption_keys")
            # As a function: whatever shows the attributes of an object shows no key.
            self._given = lambda: checked

    def __repr__(self) -> str:
        return "<Keyring>"

    def check(self, needed_by: str) -> None:
        """Refuse to begin what could not be encrypted.

        Args:
            needed_by: What needs the keys, for the message.

        Raises:
            EncryptionUnavailable: There are no keys, or the package ``cryptography`` is missing.
            InvalidEncryptionKey: One is none.
        """
        if not self._fernets:
            raise EncryptionUnavailable(
                f"{needed_by}, and the app has no keys: give App(encryption_keys=[…]), or the variable "
                f"{KEYS_VARIABLE}; {_GENERATE}"
            )

    def encrypt_arguments(
        self, task_name: str, args: Mapping[str, JsonValue]
    ) -> dict[str, JsonValue]:
        """What is stored in place of a job's arguments.

        Raises:
            EncryptionUnavailable: There are no keys, or the package ``cryptography`` is missing.
        """
        self.check(f"task {task_name!r} is declared with encrypted=True")
        return self._encrypted(["args", task_name], dict(args))

    def encrypt_result(self, task_name: str, job_id: int, result: JsonValue) -> JsonValue:
        """What is stored in place of what a job has returned.

        Raises:
            EncryptionUnavailable: There are no keys, or the package ``cryptography`` is missing.
        """
        self.check(f"the result of task {task_name!r} is to be encrypted")
        return self._encrypted(["result", task_name, job_id], result)

    def decrypt_arguments(self, task_name: str, stored: object) -> dict[str, Any]:
        """A job's arguments, as JSON carries them.

        Args:
            task_name: What the job calls its task.
            stored: What is stored in their place.

        Raises:
            EncryptionUnavailable: There are no keys, or the package ``cryptography`` is missing.
            UnknownEncryptionKey: None of the keys decrypts them.
            CiphertextMisplaced: They are those of another task's job, or no arguments.
        """
        what = f"the arguments of a job of task {task_name!r}"
        args = self._decrypted(["args", task_name], stored, what)
        if not isinstance(args, dict):
            raise CiphertextMisplaced(f"{what} are no JSON object")
        return args

    def decrypt_result(self, task_name: str, job_id: int, stored: object) -> JsonValue:
        """What a job has returned, as JSON carries it.

        Args:
            task_name: What the job calls its task.
            job_id: The job.
            stored: What is stored in its place.

        Raises:
            EncryptionUnavailable: There are no keys, or the package ``cryptography`` is missing.
            UnknownEncryptionKey: None of the keys decrypts it.
            CiphertextMisplaced: It is another job's.
        """
        what = f"the result of job {job_id} ({task_name!r})"
        return self._decrypted(["result", task_name, job_id], stored, what)

    def rotated(self, stored: object) -> dict[str, str] | None:
        """What is encrypted by another key than the first, encrypted by the first; None: it is that already.

        Raises:
            EncryptionUnavailable: There are no keys, or the package ``cryptography`` is missing.
            UnknownEncryptionKey: None of the keys decrypts it.
        """
        self.check("encrypted jobs are to be encrypted by the first key")
        if self._opened(stored, self._fernets[:1]) is not None:
            return None
        plain = self._opened(stored, self._fernets)
        if plain is None:
            raise _unknown_key("this")
        return {ENCRYPTED: self._fernets[0].encrypt(plain).decode()}

    def _encrypted(self, belongs_to: list[JsonValue], value: JsonValue) -> dict[str, JsonValue]:
        plain = json.dumps(
            [belongs_to, value], allow_nan=False, ensure_ascii=False, separators=(",", ":")
        )
        return {ENCRYPTED: self._fernets[0].encrypt(plain.encode()).decode()}

    def _decrypted(self, belongs_to: list[JsonValue], stored: object, what: str) -> JsonValue:
        self.check(f"{what} cannot be read: it is encrypted")
        plain = self._opened(stored, self._fernets)
        if plain is None:
            raise _unknown_key(what)
        found = _read(plain)
        if not (isinstance(found, list) and len(found) == 2 and found[0] == belongs_to):
            raise CiphertextMisplaced(
                f"{what} cannot be read: one of the keys decrypts it, and it belongs elsewhere. It was "
                "written by something other than taskq, or moved here from another row"
            )
        return cast("JsonValue", found[1])

    def _opened(self, stored: object, fernets: Sequence["Fernet"]) -> bytes | None:
        from cryptography.fernet import InvalidToken  # noqa: PLC0415

        token = stored.get(ENCRYPTED) if isinstance(stored, dict) else None
        if not isinstance(token, str):
            return None
        for fernet in fernets:
            try:
                return fernet.decrypt(token)
            except (InvalidToken, ValueError):  # the latter for what is no ASCII
                continue
        return None

    @cached_property
    def _fernets(self) -> Sequence["Fernet"]:
        keys = self._keys()
        if not keys:
            return ()
        try:
            from cryptography.fernet import Fernet  # noqa: PLC0415
        except ImportError:
            raise missing_package() from None
        return [Fernet(key) for key in keys]

    def _keys(self) -> Keys:
        if self._given is not None:
            return self._given()
        named = [key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",")]
        return _checked([key for key in named if key], KEYS_VARIABLE)


def generate_key() -> str:
    """A new key.

    Raises:
        EncryptionUnavailable: The package ``cryptography`` is missing.
    """
    try:
        from cryptography.fernet import Fernet  # noqa: PLC0415
    except ImportError:
        raise missing_package() from None
    return Fernet.generate_key().decode()


def missing_package() -> EncryptionUnavailable:
    """What to raise where the extra is not installed."""
    return EncryptionUnavailable(
        "encryption needs the package cryptography, which is not installed: "
        "pip install 'taskq-sql[encryption]'"
    )


def _answered(keys: Callable[[], Keys]) -> Keys:
    try:
        answer = keys()
    except Exception as error:
        kind = type(error).__name__
    else:
        return _checked(answer, "what encryption_keys() answers")
    # Not from the error, which may quote what was to become a key.
    raise EncryptionUnavailable(
        f"encryption_keys() raised {kind}, so that there are no keys: call it by itself to see why"
    )


def _unknown_key(what: str) -> UnknownEncryptionKey:
    return UnknownEncryptionKey(
        f"{what} cannot be read: none of the app's encryption keys decrypts it; add the key that it was "
        "encrypted by to them, behind the first"
    )


def _read(plain: bytes) -> object:
    try:
        return from_json(plain)
    except ValueError:
        return None


def _checked(keys: object, what: str) -> Keys:
    """Refuse what are no keys, without a word of what they are instead."""
    if isinstance(keys, str | bytes) or not isinstance(keys, Sequence):
        raise InvalidEncryptionKey(
            f"{what}: give a list of keys, the one to encrypt by first, and not a {type(keys).__name__}"
        )
    for number, key in enumerate(keys, start=1):
        if reason := _fault(key):
            raise InvalidEncryptionKey(
                f"{what}: key {number} of {len(keys)} is none, as {reason}; a key is {_KEY_LENGTH} bytes as "
                f"44 characters of URL-safe Base64, and {_GENERATE}"
            )
    return tuple(keys)


def _fault(key: object) -> str | None:
    if not isinstance(key, str | bytes):
        return f"it is a {type(key).__name__}"
    try:
        length = len(urlsafe_b64decode(key))
    except (NotBase64, ValueError):
        return f"it is no Base64, of {len(key)} characters"
    return None if length == _KEY_LENGTH else f"it has {length} bytes"
