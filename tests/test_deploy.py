"""The files of deploy/ are what their pages print, and what the programs that read them take."""

import configparser
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from click.testing import CliRunner

from taskq.cli.program import program

ROOT = Path(__file__).parents[1]
FILES = sorted(path for path in (ROOT / "deploy").rglob("*") if path.is_file())
PAGES = [
    (ROOT / "docs" / name).read_text()
    for name in ("production.md", "kubernetes.md", "managed-postgresql.md")
]


def manifests() -> Iterator[dict[str, Any]]:
    for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def pods(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The specification of the pods that a manifest makes."""
    spec = manifest.get("spec", {})
    for holder in (spec, spec.get("jobTargetRef", {})):
        if "template" in holder:
            yield holder["template"]["spec"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_page_prints_the_file(path: Path) -> None:
    assert any(f"\n{path.read_text()}```" in page for page in PAGES)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    units = []
    for path in (ROOT / "deploy" / "systemd").glob("*.service"):
        unit = tmp_path / path.name
        unit.write_text(path.read_text().replace("/srv/shop/venv/bin/python", sys.executable))
        units.append(unit)
    assert len(units) == 2
    checked = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_systemd_kills_a_worker_later_than_it_gives_up() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.read(ROOT / "deploy" / "systemd" / "taskq-worker@.service")
    service = unit["Service"]
    words = service["ExecStart"].split()
    graceful = int(words[words.index("--shutdown-graceful-timeout") + 1])
    assert int(service["TimeoutStopSec"]) >= graceful + 15


def test_kubernetes_kills_a_pod_later_than_its_worker_gives_up() -> None:
    found = [pod for manifest in manifests() for pod in pods(manifest)]
    assert len(found) == 4
    for pod in found:
        [container] = pod["containers"]
        for argument in container["args"]:
            if argument.startswith("--shutdown-graceful-timeout="):
                graceful = int(argument.partition("=")[2])
                assert pod["terminationGracePeriodSeconds"] >= graceful + 15
        assert pod["securityContext"]["runAsNonRoot"] is True


def test_the_probes_ask_for_pages_that_a_worker_has() -> None:
    worker = next(found for found in manifests() if "/livez" in str(found))
    [container] = next(pods(worker))["containers"]
    kinds = ("liveness", "readiness", "startup")
    probes = [container[f"{kind}Probe"]["httpGet"]["path"] for kind in kinds]
    assert probes == ["/livez", "/readyz", "/readyz"]
    assert any(argument.startswith("--http=0.0.0.0:") for argument in container["args"])


def test_each_command_is_one_of_the_program() -> None:
    for manifest in manifests():
        for pod in pods(manifest):
            command = pod["containers"][0]["args"]
            words = [word for word in command if not word.startswith("--")]
            shown = CliRunner().invoke(program, [*words, "--help"], prog_name="taskq")
            assert shown.exit_code == 0, shown.output
            options = {word.partition("=")[0] for word in command if word.startswith("--")}
            assert not {name for name in options if name not in shown.output}


def test_the_scalers_ask_what_an_observer_may(connection: psycopg.Connection) -> None:
    queries = [
        trigger["metadata"]["query"]
        for manifest in manifests()
        for trigger in manifest["spec"].get("triggers", ())
    ]
    assert len(queries) == 2
    for query in queries:
        assert connection.execute(query).fetchone() == (0,)


def test_the_image_is_not_root_and_ends_by_sigterm() -> None:
    lines = (ROOT / "deploy" / "docker" / "Dockerfile").read_text().splitlines()
    said = dict(line.split(" ", 1) for line in lines if line.split(" ")[0].isupper())
    assert said["USER"] not in {"root", "0"}
    assert said["STOPSIGNAL"] == "SIGTERM"
    assert said["ENTRYPOINT"].startswith('["python"')
    yaml.safe_load((ROOT / "deploy" / "docker" / "compose.yaml").read_text())
