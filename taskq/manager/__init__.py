"""What users may ask of jobs: each operation sync and async, checked before anything is sent.

``reading``, ``changing``, ``pausing``, ``limiting``, ``publishing`` and ``waiting`` are sections of
``JobManager``; ``operations`` says where they run. What runs in the database is in ``queries``.
"""

from taskq.manager.manager import JobManager
from taskq.outcome import Outcome
from taskq.queries.job_count import JobCounts
from taskq.queries.job_explain import Explanation, WaitReason
from taskq.queries.job_list import JobPage
from taskq.queries.pauses import Pause, PauseKind
from taskq.queries.subscriptions import Subscription

__all__ = [
    "Explanation",
    "JobCounts",
    "JobManager",
    "JobPage",
    "Outcome",
    "Pause",
    "PauseKind",
    "Subscription",
    "WaitReason",
]
