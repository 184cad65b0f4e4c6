"""Merging: the metrics of several processes as one page, in the text format of Prometheus.

Each series of a process gets a label that names the process. They are not added up: a process that is
restarted begins at 0 again, which a sum would show as a counter that goes back, and not all the way.
"""

import re
from collections.abc import Iterator, Mapping

_LABEL = "process"

_COMMENT = re.compile(r"# (?:HELP|TYPE) (?P<name>\S+)")
_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?P<brace>\{)?")
# As Prometheus itself does with a label of a target that a series has already.
_TAKEN = re.compile(rf'([{{,]){_LABEL}="')


def merge(of_processes: Mapping[str, str], of_all: str) -> str:
    """Put pages together.

    Args:
        of_processes: Each process's own page, by its name.
        of_all: What is said once: figures of the database.
    """
    # The series of a metric are to stand together, after its comments.
    merged: dict[str, tuple[list[str], list[str]]] = {}
    for name, page in of_processes.items():
        label = f'{_LABEL}="{_escaped(name)}"'
        for metric, comments, samples in _metrics(page):
            _, known_samples = merged.setdefault(metric, (comments, []))
            known_samples.extend(_labelled(sample, label) for sample in samples)
    lines = [line for parts in merged.values() for part in parts for line in part]
    return "".join(f"{line}\n" for line in lines) + of_all


def _metrics(page: str) -> Iterator[tuple[str, list[str], list[str]]]:
    metric, comments, samples = "", list[str](), list[str]()
    for line in page.splitlines():
        named = _COMMENT.match(line)
        if named and named["name"] != metric:
            if comments or samples:
                yield metric, comments, samples
            metric, comments, samples = named["name"], [], []
        if line.startswith("#"):
            comments.append(line)
        elif line:
            samples.append(line)
    if comments or samples:
        yield metric, comments, samples


def _labelled(sample: str, label: str) -> str:
    found = _SAMPLE.match(sample)
    if found is None:
        return sample
    if found["brace"] is None:
        return f"{found['name']}{{{label}}}{sample[found.end() :]}"
    rest = _TAKEN.sub(rf'\1exported_{_LABEL}="', sample[found.end() - 1 :])[1:]
    return f"{found['name']}{{{label}{'' if rest.startswith('}') else ','}{rest}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
