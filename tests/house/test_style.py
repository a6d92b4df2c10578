"""Style and types: ruff and mypy say nothing, and would say something."""

from __future__ import annotations

import subprocess
import sys

import pytest
from house_rules import ROOT

RUFF_CHECK = ("ruff", "check", "--config", "pyproject.toml")
RUFF_FORMAT = ("ruff", "format", "--check", "--config", "pyproject.toml")
MYPY = ("mypy", "--config-file", "pyproject.toml")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "command", [(*RUFF_CHECK, "."), (*RUFF_FORMAT, "."), MYPY], ids=["check", "format", "types"]
)
def test_the_whole_project_is_clean(command):
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "text", "complaint"),
    [
        (RUFF_CHECK, "import os\n", "F401"),
        (RUFF_CHECK, "import os\nprint(os.path.join('a', 'b'))\n", "PTH118"),
        (RUFF_FORMAT, "x = {'a':1}\n", "would be reformatted"),
        (MYPY, "def f(x):\n    return x\n", "no-untyped-def"),
    ],
    ids=["unused import", "os.path", "format", "untyped"],
)
def test_a_planted_violation_is_caught(tmp_path, command, text, complaint):
    planted = tmp_path / "planted.py"
    planted.write_text(text)
    done = run(*command, str(planted))
    assert done.returncode == 1
    assert complaint in done.stdout + done.stderr
