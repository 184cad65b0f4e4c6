"""What is measured, and what it is to be: the goals for speed."""

from collections.abc import Mapping
from dataclasses import dataclass

# By figure, by whose it is: a contender's, or a case's.
Medians = dict[str, dict[str, float]]

CLAIM = "a claim of 100, ms"
CLAIM_NAMED = "a claim of 100 from a named queue, ms"
HELD = "a claim of 100 while a transaction is left open, ms"
SCALE = "drain with so many workers, jobs/s"
WAITING = "a claim of 100 with so many waiting, ms"
STORM = "20 clients defer one by one, jobs/s"

PLAIN = "100k ready jobs, nothing else"
FINISHED = "1 M finished beside them"
LATER = "1 M for later ahead of them"
OTHER_QUEUE = "1 M of another queue ahead of them"
BUSY_LOCKS = "100k over 100 busy locks ahead of them"
DEEP_LOCK = "one busy lock 100k deep ahead of them"
OWN_LOCKS = "100k, each its own lock"
FULL_LIMITS = {
    keys: f"100k over {keys:,} full {'key' if keys == 1 else 'keys'} of a limit ahead of them"
    for keys in (1, 100, 1_000, 10_000)
}

# Others are measured to be known.
SHAPES_OF_GOALS = (FINISHED, LATER, OTHER_QUEUE, BUSY_LOCKS, DEEP_LOCK, OWN_LOCKS)


@dataclass(frozen=True)
class Goal:
    """A goal, and what it came to."""

    goal: str
    found: str
    met: bool


def goals(medians: Medians) -> list[Goal]:
    """The goals on what was measured."""
    return [
        goal
        for judge in (
            _drain,
            _locks,
            _limits,
            _defer,
            _latency,
            _costs,
            _shapes,
            _held,
            _scale,
            _storm,
        )
        for goal in judge(medians)
    ]


def _ratio(row: Mapping[str, float], names: tuple[str, str], least: float, text: str) -> list[Goal]:
    if not row.keys() >= set(names):
        return []
    ratio = row[names[0]] / row[names[1]]
    return [Goal(text, f"{ratio:.2f}", ratio >= least)]


def _bound(row: Mapping[str, float], one: str, most: float, what: str) -> list[Goal]:
    if one not in row:
        return []
    return [Goal(f"{what}: at most {most:,g}", f"{row[one]:,.3g}", row[one] <= most)]


def _floor(row: Mapping[str, float], least: float, what: str) -> list[Goal]:
    if "taskq" not in row:
        return []
    return [Goal(f"{what}: at least {least:,}", f"{row['taskq']:,.0f}", row["taskq"] >= least)]


def _drain(medians: Medians) -> list[Goal]:
    found = []
    figure = "drain, concurrency 100, jobs/s"
    row = medians.get(figure, {})
    for other, shown, least in (
        ("floor", "the floor", 0.5),
        ("pgqueuer", "PgQueuer's", 1.5),
        ("procrastinate", "Procrastinate's", 30),
    ):
        found += _ratio(row, ("taskq", other), least, f"{figure}: at least {least:g} of {shown}")
    for concurrency in (10, 1):
        figure = f"drain, concurrency {concurrency}, jobs/s"
        found += _floor(medians.get(figure, {}), 10_000, figure)
    return found


def _locks(medians: Medians) -> list[Goal]:
    found = []
    for shown, least in (
        ("one lock", 4_000),
        ("20 locks", 12_000),
        ("1,000 locks", 12_700),
        ("20,000 locks", 13_600),
    ):
        figure = f"drain, {shown}, jobs/s"
        found += _floor(medians.get(figure, {}), least, figure)
    return found


def _limits(medians: Medians) -> list[Goal]:
    figure, plain = "drain, 1,000 keys of a limit, jobs/s", medians.get(CLAIM, {})
    unlimited = medians.get("drain, concurrency 100, jobs/s", {}).get("taskq")
    limited = medians.get(figure, {}).get("taskq")
    of_plain = limited / unlimited if limited and unlimited else None
    return [
        *(
            [Goal(f"{figure}: at least 0.5 of those without", f"{of_plain:.2f}", of_plain >= 0.5)]
            if of_plain
            else []
        ),
        *(
            Goal(f"a claim with {name}: at most 1.5 of the plain one", f"{of:.2f}", of <= 1.5)
            for name in FULL_LIMITS.values()
            if name in plain
            for of in [plain[name] / plain[PLAIN]]
        ),
    ]


def _defer(medians: Medians) -> list[Goal]:
    one, batch = "defer one, jobs/s", "defer 3,000 in a batch, jobs/s"
    return [
        *_ratio(medians.get(one, {}), ("taskq", "floor"), 0.5, f"{one}: at least 0.5 of the floor"),
        *_floor(medians.get(batch, {}), 40_000, batch),
    ]


def _latency(medians: Medians) -> list[Goal]:
    p50, p95 = (medians.get(f"defer to start, {name} ms", {}) for name in ("p50", "p95"))
    if not {"taskq", "procrastinate"} <= p50.keys():
        return []
    theirs = p50["procrastinate"]
    return [
        Goal(
            f"defer to start, {name}: at most {share:g} of Procrastinate's p50",
            f"{of:.2f}",
            of <= share,
        )
        for name, row, share in (("p50", p50, 0.5), ("p95", p95, 1))
        for of in [row["taskq"] / theirs]
    ]


def _costs(medians: Medians) -> list[Goal]:
    wal, transactions = "WAL per job, bytes", "transactions per job"
    return [
        *_bound(medians.get(wal, {}), "taskq", 1200, wal),
        *_bound(medians.get(transactions, {}), "taskq", 0.05, transactions),
    ]


def _shapes(medians: Medians) -> list[Goal]:
    rows = [medians[figure] for figure in (CLAIM, CLAIM_NAMED) if figure in medians]
    return [
        Goal(f"a claim with {name}: at most 3 of the plain one", f"{of:.2f}", of <= 3)
        for name in SHAPES_OF_GOALS
        if rows
        for of in [max(row[name] / row[PLAIN] for row in rows)]
    ]


def _held(medians: Medians) -> list[Goal]:
    row = medians.get(HELD, {})
    if not row:
        return []
    of = row["after 200k jobs"] / row["at first"]
    text = "a claim after 200k jobs under an open transaction: at most 3 of the first"
    return [Goal(text, f"{of:.2f}", of <= 3)]


def _scale(medians: Medians) -> list[Goal]:
    found = []
    for workers in ("2", "4"):
        text = f"drain with {workers} workers: at least 1 of one worker's"
        found += _ratio(medians.get(SCALE, {}), (workers, "1"), 1, text)
    if waiting := medians.get(WAITING):
        (few, short), (many, long) = waiting.items()
        text = f"a claim with {many} waiting: at most 1.5 of one with {few}"
        found.append(Goal(text, f"{long / short:.2f}", long <= 1.5 * short))
    return found


def _storm(medians: Medians) -> list[Goal]:
    text = "20 clients that defer, with notifications: at least 0.9 of without"
    return _ratio(medians.get(STORM, {}), ("one for all", "none"), 0.9, text)
