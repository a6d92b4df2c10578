"""What others rely on is as it was committed; a change is made on purpose, and seen in review."""

from __future__ import annotations

import difflib

import pytest
from surfaces import FOLDER, surfaces

NOW = surfaces()


def test_every_surface_is_frozen():
    assert {path.name for path in FOLDER.iterdir()} == set(NOW)


@pytest.mark.parametrize("name", NOW)
def test_a_surface_is_as_it_was_committed(name):
    frozen = (FOLDER / name).read_text()
    lines = difflib.unified_diff(
        frozen.splitlines(), NOW[name].splitlines(), "committed", "now", lineterm="", n=1
    )
    changed = "\n".join(list(lines)[:60])
    assert frozen == NOW[name], (
        f"{changed}\nmeant: make surfaces, and a line in CHANGELOG.md; not meant: mend it"
    )
