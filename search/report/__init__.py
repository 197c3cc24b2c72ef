"""The HTML report of a run directory: one file that needs nothing else."""

from __future__ import annotations

from search.report.page import write_report

__all__ = ["write_report"]
