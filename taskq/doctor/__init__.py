"""What slows or endangers the queue, and what to do about it: one module for each check.

``examine`` runs them all, each by queries of ``sql/queries/doctor.sql``. Nothing is written, and nothing
is locked.
"""

from taskq.doctor.check import Thresholds
from taskq.doctor.doctor import CHECKS, examine
from taskq.doctor.finding import Finding, Severity

__all__ = ["CHECKS", "Finding", "Severity", "Thresholds", "examine"]
