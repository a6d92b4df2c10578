"""What a drill did and found, on its way to the table at the end of the run."""

from __future__ import annotations

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
