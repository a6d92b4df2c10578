"""What each drill did and found, told as a table at the end of the run."""

from __future__ import annotations

from typing import Any

import pytest

COLUMNS = ("scenario", "what was done", "acknowledged", "found", "duplicates", "published")
DRILL = "drill"


class Drill:
    """Notes of one drill; a test that ends without any is told by its name alone."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._properties = request.node.user_properties

    def note(self, scenario: str, done: str, **counted: int | str) -> None:
        """Scenario by its number and name, what was done, and of `COLUMNS` what was counted."""
        self._properties.append((DRILL, {"scenario": scenario, "what was done": done, **counted}))


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
        terminalreporter.line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
