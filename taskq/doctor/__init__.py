"""What slows or endangers the queue, and what to do about it: one module for each thing that is looked at.

``examine`` looks at all of them, each through queries of ``sql/queries/doctor.sql``. Nothing is written,
and nothing is locked.
"""

from taskq.doctor.examination import Thresholds
from taskq.doctor.examining import CONCERNS, examine
from taskq.doctor.finding import Finding, Severity

__all__ = ["CONCERNS", "Finding", "Severity", "Thresholds", "examine"]
