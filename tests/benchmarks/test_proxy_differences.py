"""The differences that the page on proxies tells are those of the committed scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.proxy_differences import main

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "benchmarks" / "results" / "proxies"


def test_the_page_tells_what_the_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    main([str(FOLDER / "convnet720"), "plain-set calibrated@10", "real calibrated@10", "real@100", "nwot"])
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(": +")[2] for line in printed] == ["0.11 [0.01, 0.23]", "0.64 [0.37, 0.91]"]
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(line.partition(": +")[2] in page for line in printed)
