"""A real PostgreSQL server without installing one: to try taskq, to test, for one small machine.

It comes with ``pip install 'taskq-sql[embedded]'``. A folder decides who shares a server: the first to
start in it starts the server, and the last to leave stops it. By default each project has a folder of
its own. In the folder lie

- ``postgresql-18``: the data, named after the major version, with the server's log in it;
- ``mutex``, locked while a user starts or leaves;
- ``users``, of which every user of the server holds a shared lock;
- ``programs``, while the server runs: a link to the directory that its programs lie in;
- ``sockets``, only if the path of the data is no place for a socket: a link to one that is.

It needs ``fcntl`` and Unix sockets, hence a POSIX system.
"""

from taskq.embedded.project import project_name
from taskq.embedded.server import FOLDER_VARIABLE, EmbeddedServer, default_folder
from taskq.embedded.wheel import is_installed, programs

__all__ = [
    "FOLDER_VARIABLE",
    "EmbeddedServer",
    "default_folder",
    "is_installed",
    "programs",
    "project_name",
]
