"""Check: what attempts do in their own transactions is there once if they succeeded, and else not at all."""

from collections import Counter
from collections.abc import Iterator

from tests.stress.log import Log, Violation
from tests.stress.scripts import has_effect


def effects(log: Log) -> list[Violation]:
    """Each effect belongs to a claim that succeeded, and each of those has its one."""
    return [Violation("effects", text) for text in _effects(log)]


def _effects(log: Log) -> Iterator[str]:
    counted = Counter(log.effects)
    for (job_id, claim), number in counted.items():
        tenure = log.tenures.get((job_id, claim))
        if number > 1:
            yield f"job {job_id} has {number} effects of its claim {claim}"
        if tenure is None or tenure.ended is None or tenure.ended.status != "succeeded":
            yield f"job {job_id} has an effect of its claim {claim}, which did not succeed: {tenure}"
    for key, tenure in log.tenures.items():
        if (
            has_effect(tenure.began.job_id)
            and tenure.ended is not None
            and tenure.ended.status == "succeeded"
            and not counted[key]
        ):
            yield f"it succeeded, and its effect is not there: {tenure.ended}"
