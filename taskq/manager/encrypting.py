"""The encrypting part of the job manager: what is stored by an old key is encrypted by the present one."""

from typing import Final

from taskq import queries
from taskq.database.sync_async import async_method
from taskq.encryption import Keyring
from taskq.manager.operations import JobOperations
from taskq.queries.job_encryption import Rotation


class Encrypting(JobOperations):
    """What may be done to encrypted jobs.

    Attributes:
        keyring: The keys of the app.
    """

    keyring: Keyring

    def rotate_encryption_keys(self) -> Rotation:
        """Encrypt arguments and results by the first key that are encrypted by another one.

        A few hundred jobs at a time, each time in a transaction of its own; all jobs are scanned. Those that
        run are left as they are. To be run when all that defers and runs jobs has the new key as its first;
        the old one can go when nothing is left.

        Returns:
            How many jobs were encrypted anew, how many run, and how many no key decrypts.

        Raises:
            EncryptionUnavailable: There are no keys, or the package ``cryptography`` is missing.
        """
        self.keyring.check("encrypted jobs are to be encrypted by the first key")
        return self._run(queries.job_encryption.reencrypt_jobs, self.keyring)

    rotate_encryption_keys_async: Final = async_method(rotate_encryption_keys)
