"""Supervisor: starts several processes with a worker each, watches them, and passes on signals.

It runs no job, imports no app and has no connection to the database. Each process is a fresh interpreter that
runs the same command line: nothing is forked.
"""

import asyncio
import multiprocessing
import signal
from collections.abc import Sequence
from typing import Final

from taskq.escaping import get_logger
from taskq.exceptions import InvalidOption
from taskq.messages import signal_name
from taskq.supervisor.exit_codes import FAILED, INTERRUPTED, USAGE
from taskq.supervisor.pages import pages
from taskq.supervisor.process import WorkerProcess
from taskq.supervisor.restarts import Done, Ended, GiveUp, Restart, Restarts
from taskq.telemetry import Telemetry
from taskq.worker.http.address import HttpAddress
from taskq.worker.http.server import HttpServer

logger: Final = get_logger("taskq.supervisor")

# How long processes that are to leave at once may take.
_LEAVE_WITHIN = 10.0  # seconds

# How processes end that have been asked to stop, also before they handle signals themselves.
_ASKED = {0, INTERRUPTED, -signal.SIGTERM, -signal.SIGINT}


class Supervisor:
    """Runs a command in several processes.

    Args:
        command: What each of them runs: the arguments of the interpreter.
        processes: How many.
    """

    def __init__(self, command: Sequence[str], processes: int) -> None:
        self._command = command
        self._count = processes
        self._running: dict[int, WorkerProcess] = {}
        self._restarting: dict[int, str] = {}
        self._any_started = False
        self._signals = 0
        self._code = 0
        self._http: HttpServer | None = None

    def run(self) -> int:
        """Run until all have ended; returns the exit code."""
        # In each line of the log.
        multiprocessing.current_process().name = "supervisor"
        return asyncio.run(self._run())

    async def _run(self) -> int:
        self._stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for handled in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(handled, self._signalled)
        logger.info(
            "%s processes are started",
            self._count,
            extra={"action": "supervisor_started", "processes": self._count},
        )
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(1, self._count + 1):
                    group.create_task(self._keep(number))
        finally:
            if self._http is not None:
                await self._http.stop()
        logger.info("all processes have ended", extra={"action": "supervisor_stopped"})
        return self._code

    async def _keep(self, number: int) -> None:
        """Have one process after the other run, as long as there is to be one."""
        restarts = Restarts()
        while not self._stopping.is_set():
            process = WorkerProcess(number, self._told)
            self._running[number] = process
            try:
                ended = await process.run(self._command)
            finally:
                del self._running[number]
            self._any_started |= ended.started
            if self._stopping.is_set():
                self._ended_as_asked(process, ended)
                return
            match restarts.ended(ended, any_started=self._any_started):
                case Done():
                    return
                case GiveUp(code, why):
                    self._give_up(code, f"{process.name} (pid {process.pid}) {_how(ended)}: {why}")
                    return
                case Restart(after):
                    logger.error(
                        "%s (pid %s) %s after %.1f s: another one is started %s",
                        process.name,
                        process.pid,
                        _how(ended),
                        ended.seconds,
                        f"in {after:g} s" if after else "at once",
                        extra=_logged(process, ended),
                    )
                    self._restarting[number] = f"{process.name} has ended, and is started again"
                    try:
                        async with asyncio.timeout(after):
                            await self._stopping.wait()
                    except TimeoutError:
                        pass
                    del self._restarting[number]

    # In the event loop

    def _told(self, process: WorkerProcess) -> None:
        self._any_started |= process.has_started
        if self._stopping.is_set():
            # It was just being started.
            process.stop(leave=self._signals > 1)
        elif process.http is not None and self._http is None:
            self._serve(process.http)

    def _signalled(self) -> None:
        self._signals += 1
        if self._signals > 1:
            self._code = INTERRUPTED
            asyncio.get_running_loop().call_later(_LEAVE_WITHIN, self._kill)
        self._stop(leave=self._signals > 1)

    def _stop(self, *, leave: bool = False) -> None:
        if not self._stopping.is_set():
            logger.info("all processes stop", extra={"action": "supervisor_stopping"})
        self._stopping.set()
        for process in self._running.values():
            process.stop(leave=leave)

    def _kill(self) -> None:
        for process in self._running.values():
            process.kill()

    def _ended_as_asked(self, process: WorkerProcess, ended: Ended) -> None:
        if ended.code not in _ASKED and self._code == 0:
            self._code = FAILED
            logger.error(
                "%s (pid %s) %s while it stopped",
                process.name,
                process.pid,
                _how(ended),
                extra=_logged(process, ended),
            )

    def _give_up(self, code: int, why: str) -> None:
        if self._code == 0:
            self._code = code
            logger.critical("%s; all end", why, extra={"action": "supervisor_gave_up"})
        self._stop()

    def _serve(self, address: HttpAddress) -> None:
        try:
            self._http = http = HttpServer(
                address,
                pages(lambda: list(self._running.values()), not_ready=self._not_ready),
                telemetry=Telemetry(),
            )
        except InvalidOption as error:
            self._give_up(USAGE, str(error))
            return
        http.start(self._broken)
        logger.info(
            "the supervisor answers /livez, /readyz and /metrics for all processes at %s, port %s",
            *http.address,
            extra={
                "action": "supervisor_serves_http",
                "host": http.address.host,
                "port": http.address.port,
            },
        )

    def _broken(self, error: BaseException) -> None:
        self._give_up(FAILED, f"what answers by HTTP broke, which is a bug of taskq: {error!r}")

    def _not_ready(self) -> str | None:
        if self._stopping.is_set():
            return "it stops"
        return "; ".join(list(self._restarting.values())) or None


def _logged(process: WorkerProcess, ended: Ended) -> dict[str, object]:
    return {
        "action": "process_ended",
        "process_name": process.name,
        "pid": process.pid,
        "exit_code": ended.code,
    }


def _how(ended: Ended) -> str:
    if ended.code >= 0:
        return f"ended with exit code {ended.code}"
    return f"was ended by {signal_name(-ended.code)}"
