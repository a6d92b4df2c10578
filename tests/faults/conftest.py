"""What each drill did and found, told as a table at the end of the run."""

from __future__ import annotations

from typing import Any

import pytest
from drill_notes import COLUMNS, DRILL, Drill


@pytest.fixture
def drill(request: pytest.FixtureRequest) -> Drill:
    return Drill(request)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = [
        (*(str(value.get(column, "")) for column in COLUMNS), outcome)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", ())
        if name == DRILL and report.when == "call"
    ]
    if not lines:
        return
    table = [(*COLUMNS, "verdict"), *lines]
    widths = [max(len(line[place]) for line in table) for place in range(len(table[0]))]
    terminalreporter.section("drills")
    for line in table:
        terminalreporter.line(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )
