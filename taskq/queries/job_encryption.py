"""Encryption by another key: what is encrypted of jobs, and the same written anew."""

import json
from dataclasses import dataclass
from typing import Any

from taskq.encryption import Keyring, is_encrypted
from taskq.exceptions import UnknownEncryptionKey
from taskq.queries.connection import Connection, on_any
from taskq_sql import job_encryption

_querier = on_any(job_encryption.Querier)

# Jobs that are scanned for one statement, which writes those of them that it has to.
_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What has become of the jobs that were encrypted by another key than the first.

    Attributes:
        jobs: How many are encrypted by the first one now.
        running: How many were left as they are, as they run, or began to.
        unknown: How many were left as they are, as none of the keys decrypts them.
    """

    jobs: int
    running: int
    unknown: int


def reencrypt_jobs(connection: Connection, keyring: Keyring, *, batch: int = _BATCH) -> Rotation:
    """Encrypt arguments and results by the first key, a batch of jobs in each statement.

    Args:
        connection: The connection.
        keyring: The keys.
        batch: How many jobs are scanned for each.
    """
    querier = _querier(connection)
    after = -(2**63)
    jobs = running = unknown = 0
    while rows := list(querier.list_encrypted_jobs(after=after, max_scanned=batch)):
        after = rows[-1].id
        renewed = []
        for row in rows:
            try:
                changed = _changed(keyring, row)
            except UnknownEncryptionKey:
                unknown += 1
                continue
            if changed and row.is_doing:
                running += 1
            elif changed:
                renewed.append({"id": row.id, **changed})
        if renewed:
            written = list(querier.reencrypt_jobs(renewed=json.dumps(renewed)))
            jobs += len(written)
            running += len(renewed) - len(written)
    return Rotation(jobs=jobs, running=running, unknown=unknown)


def _changed(keyring: Keyring, row: job_encryption.ListEncryptedJobsRow) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for name, stored in (("args", row.args), ("result", row.result)):
        # What only looks like it is a user's own.
        if is_encrypted(stored) and (rotated := keyring.rotated(stored)) is not None:
            changed |= {name: stored, f"new_{name}": rotated}
    return changed
