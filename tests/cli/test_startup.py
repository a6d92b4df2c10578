"""The command line imports no heavy packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "celery", "sqlalchemy", "fastapi", "sklearn", "matplotlib", "pyarrow")


def loaded_after(code: str) -> set[str]:
    script = f"import sys; {code}; print(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout.split()
    )


@pytest.mark.parametrize(
    "code", ["import acclimate.cli.app", "from acclimate.cli.app import build; build()"]
)
def test_the_command_line_starts_without_the_heavy_packages(code):
    loaded = loaded_after(code)
    assert "acclimate.cli.app" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_the_doctor_tells_the_version_of_torch_without_loading_it():
    loaded = loaded_after(
        "from pathlib import Path; from acclimate.cli.doctor import machine;"
        "assert any(check.check == 'torch' and check.ok for check in machine(Path('absent')))"
    )
    assert "torch" not in loaded
