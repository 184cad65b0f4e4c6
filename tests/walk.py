"""A page of the documentation, followed as a reader does: its files in a folder, its commands run there."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from taskq.database.database import URL_VARIABLE

# The first line of a block that is a file of its own.
_FILE = re.compile(r"# (\w+\.py)\b")


def blocks(page: Path, language: str) -> list[str]:
    """A page's fenced blocks of a language, in order: later ones build on earlier ones."""
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [block for block in found if not _FILE.match(block)]


def files(page: Path) -> dict[str, str]:
    """A page's files: the blocks that begin with a name."""
    found = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return {named[1]: block for block in found if (named := _FILE.match(block))}


class Walk:
    """The files of a page in a folder, and its commands, with what the page says that each prints."""

    def __init__(self, page: Path, folder: Path, database_url: str, **environ: str) -> None:
        self.folder = folder
        self.environ = os.environ | {URL_VARIABLE: database_url, "PYTHONUNBUFFERED": "1"} | environ
        for name, text in files(page).items():
            (folder / name).write_text(text)
        self.commands: dict[str, list[str]] = {}
        for block in blocks(page, "console"):
            for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, *said = step.splitlines()
                self.commands[command] = said

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> list[str]:
        with self.start(*arguments) as running:
            said, _ = running.communicate(timeout=60)
        assert running.returncode == 0
        return said.splitlines()

    def follow(self, command: str) -> None:
        """Run a command of the page to its end, a worker until it has printed what the page says."""
        said = self.commands[command]
        program, *arguments = shlex.split(command)
        if "worker" in arguments:
            with self.following(command):
                pass
            return
        match program, arguments:
            case "python", _:
                self._compare(said, self.run(*arguments))
            case "mkdir", [name]:
                (self.folder / name).mkdir()
            case "pip", ["install", what]:
                assert_installed(Requirement(what))
            case _:
                raise AssertionError(f"the page has a command that cannot be followed: {command}")

    @contextmanager
    def following(self, command: str) -> Iterator[subprocess.Popen[str]]:
        """Start a command of the page, and leave it running when it has printed what the page says."""
        words = shlex.split(command)
        environ = dict(word.split("=") for word in words[: words.index("python")])
        with self.start(*words[len(environ) + 1 :], **environ) as running:
            try:
                assert running.stdout
                said = self.commands[command]
                assert [running.stdout.readline().rstrip() for _ in said] == said
                yield running
            finally:
                running.terminate()
        assert running.returncode == 0

    @staticmethod
    def _compare(said: list[str], shown: list[str]) -> None:
        """An ellipsis stands for whatever comes there, a line of it for any number of lines."""
        lines = (
            "(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n"
            for line in said
        )
        pattern, text = "".join(lines), "".join(f"{line.rstrip()}\n" for line in shown)
        assert re.fullmatch(pattern, text), f"{text!r} is not {pattern!r}"


def assert_installed(requirement: Requirement) -> None:
    """What a page says to install is there, with all that its extras bring."""
    assert requirement.name == "taskq-sql"
    wanted = [Requirement(line) for line in requires(requirement.name) or ()]
    for extra in requirement.extras:
        brought = [one for one in wanted if one.marker and one.marker.evaluate({"extra": extra})]
        assert brought, f"there is no extra {extra}"
        for one in brought:
            try:
                assert version(one.name) in one.specifier
            except PackageNotFoundError as missing:
                raise AssertionError(f"the extra {extra} needs {one}") from missing
