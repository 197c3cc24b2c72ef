"""What the scenarios measured, kept for `python -m benchmarks.chaos`, and a line on the terminal as they go."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Figures:
    """One row for each scenario: how often it struck, on what, and what was lost."""

    config: pytest.Config
    rows: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the first scenario began."""
        return time.monotonic() - self.began

    def add(self, scenario: str, **measured: Any) -> None:
        """Keep a row."""
        self.rows.append({"scenario": scenario, **measured})
        self.say(f"{scenario}: " + ", ".join(f"{name} {value}" for name, value in measured.items()))

    def say(self, sentence: str) -> None:
        """Write a line of progress past pytest's capturing."""
        if (terminal := self.config.pluginmanager.getplugin("terminalreporter")) is not None:
            terminal.write_line(f"  {self.seconds:6.0f} s  {sentence}")

    def write(self, path: Path) -> None:
        """Write the rows as JSON."""
        path.write_text(json.dumps(self.rows), encoding="utf-8")
