"""Who may import whom: the contracts of .importlinter, and what is in `sys.modules` after a real
start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import house_rules as rules
import pytest
from house_rules import ROOT

IMPORT_ONE_BY_ONE = """
import importlib, sys, threading
unwanted, *names = sys.argv[1:]
for name in names:
    importlib.import_module(name)
    if unwanted in sys.modules:
        sys.exit(f"{name} brings {unwanted}")
    if threading.active_count() > 1:
        sys.exit(f"{name} starts a thread at import")
"""

PLANTED = {
    "service and workers never import one another": (
        "service/planted.py",
        "import workers.planted",
    ),
    "learning knows no HTTP, queue, SQL, environment or metrics": (
        "acclimate/learning/evaluation/gates.py",
        "import httpx",
    ),
    "learning imports nothing else of ours": (
        "acclimate/learning/evaluation/gates.py",
        "import acclimate.settings",
    ),
    "learning has floors: the pipeline composes packages, which know those below them": (
        "acclimate/learning/drift/detector.py",
        "import acclimate.learning.evaluation.gates",
    ),
    "evaluation knows neither training, drift nor screening; the simulation alone trains": (
        "acclimate/learning/evaluation/gates.py",
        "import acclimate.learning.drift.detector",
    ),
    "storage imports of ours only the values of learning": (
        "acclimate/storage/database.py",
        "import acclimate.learning.pipeline",
    ),
    "values import neither torch nor anything of ours": (
        "acclimate/learning/data.py",
        "import torch",
    ),
    "only storage speaks SQL and safetensors": ("service/planted.py", "import sqlalchemy"),
    "the command line, the client and the supervisor import no server": (
        "acclimate/supervisor.py",
        "import service.app",
    ),
    "the trainer is a process and nobody imports it": (
        "workers/tasks.py",
        "import workers.trainer",
    ),
    "workers other than the trainer use only the torch-free files of learning": (
        "workers/tasks.py",
        "import acclimate.learning.models.network",
    ),
    "parents and commands are free of torch": ("migrations/env.py", "import torch"),
    "service knows Celery only in the notifier, which imports it when it sends": (
        "service/planted.py",
        "import celery",
    ),
    "workers start without FastAPI": ("workers/planted.py", "import fastapi"),
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--config", str(ROOT / ".importlinter"), "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )


def start(unwanted: str, *names: str, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_ONE_BY_ONE, unwanted, *names],
        cwd=path,
        capture_output=True,
        text=True,
    )


def modules_of(package: str) -> list[str]:
    paths = (source.path.removesuffix(".py") for source in rules.python_sources(package))
    return [path.removesuffix("/__init__").replace("/", ".") for path in paths]


def test_the_contracts_are_kept():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_contract_breaks_when_a_forbidden_import_is_planted(tmp_path):
    for source in rules.python_sources(*rules.PRODUCT):
        (tmp_path / source.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source.path, tmp_path / source.path)
    for path, line in PLANTED.values():
        with (tmp_path / path).open("a") as file:
            file.write(f"\n{line}\n")
    printed = lint_imports(tmp_path).stdout
    kept = [name for name in PLANTED if f"{name} BROKEN" not in printed]
    assert not kept, printed
    assert " KEPT" not in printed, "a contract without a planted violation"


@pytest.mark.parametrize(
    "names",
    [
        ["workers.app"],
        ["workers.tasks"],
        ["acclimate.cli.app"],
        ["acclimate.supervisor"],
        ["migrations.run"],
        modules_of("acclimate/client"),
        modules_of("acclimate/storage"),
    ],
    ids=lambda names: names[0],
)
def test_parents_start_without_torch(names):
    done = start("torch", *names)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "unwanted"), [("service.app", "celery"), ("workers.app", "fastapi")]
)
def test_voice_and_hands_start_without_each_others_framework(name, unwanted):
    done = start(unwanted, name)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("import colorsys", "planted brings colorsys"),
        ("import threading\nthreading.Timer(1, print).start()", "planted starts a thread"),
    ],
)
def test_a_planted_start_is_caught(tmp_path, text, complaint):
    (tmp_path / "planted.py").write_text(text)
    done = start("colorsys", "planted", path=tmp_path)
    assert done.returncode == 1
    assert complaint in done.stderr
