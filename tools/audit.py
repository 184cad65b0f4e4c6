"""Looks for known vulnerabilities of what taskq depends on, with its extras, in the versions installed here.

    python tools/audit.py PIP_AUDIT

By pip-audit, whose program is given. Where it does not get the advisories it passes over each package and
succeeds; so it is asked for one first of which a vulnerability is known. If it does not find that, nothing is
audited, which is said.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from packaging.requirements import Requirement

# Its sandbox can be broken out of: GHSA-q2x7-8rv6-6q7h.
_KNOWN = "jinja2==3.1.4"

_DISTRIBUTION = "taskq-sql"
_NOT_USED = {"dev", "bench"}


def main() -> int:
    """Audit; returns whether something is known."""
    [program] = sys.argv[1:]
    if not any(_faults(program, [_KNOWN])):
        print("the advisories cannot be read from here: nothing is audited")
        return 0
    pinned = sorted(set(_pinned(_DISTRIBUTION, _extras())))
    faults = list(_faults(program, pinned))
    for fault in faults:
        print(fault)
    print(f"{len(pinned)} packages, {len(faults)} known vulnerabilities")
    return 1 if faults else 0


def _extras() -> set[str]:
    named = {
        str(marker).split("extra == ")[1].strip("'\"")
        for each in requires(_DISTRIBUTION) or ()
        if (marker := Requirement(each).marker) is not None and "extra == " in str(marker)
    }
    return named - _NOT_USED


def _pinned(name: str, extras: set[str], seen: set[tuple[str, str]] | None = None) -> Iterator[str]:
    """What a package needs, and what that needs, in the versions that are installed."""
    seen = set() if seen is None else seen
    for each in requires(name) or ():
        needed = Requirement(each)
        marker = needed.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            continue
        try:
            installed = version(needed.name)
        except PackageNotFoundError:
            continue
        key = (needed.name.lower(), ",".join(sorted(needed.extras)))
        if key not in seen:
            seen.add(key)
            if needed.name != _DISTRIBUTION:
                yield f"{needed.name}=={installed}"
            yield from _pinned(needed.name, set(needed.extras), seen)


def _faults(program: str, pinned: list[str]) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("\n".join(pinned))
        requirements.flush()
        done = subprocess.run(  # noqa: S603 - what the caller has named
            [
                program,
                "--requirement",
                requirements.name,
                "--no-deps",
                "--disable-pip",
                "--format=json",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        print(done.stderr.strip()[-500:])
        return
    for package in found["dependencies"]:
        for known in package.get("vulns", ()):
            yield f"{package['name']} {package['version']}: {known['id']}, mended in {known['fix_versions']}"


if __name__ == "__main__":
    sys.exit(main())
