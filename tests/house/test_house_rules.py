"""The rules of the house hold in every file, and each rule catches a violation planted for it."""

from __future__ import annotations

from collections.abc import Callable

import house_rules as rules
import pytest
from house_rules import Source

Rule = Callable[[Source], list[str]]

LONG_FUNCTION = "def f():\n" + "    x = 1\n" * 50
LONG_METHOD = "class A:\n    def f(self):\n" + "        x = 1\n" * 50


def assert_none(violations: list[str]) -> None:
    assert not violations, "\n" + "\n".join(violations)


def broken_in(rule: Rule, *folders: str, but: tuple[str, ...] = ()) -> list[str]:
    return [
        hit
        for source in rules.python_sources(*folders)
        if source.path not in but
        for hit in rule(source)
    ]


def test_only_the_settings_read_the_environment():
    assert_none(broken_in(rules.environment, *rules.PRODUCT, but=("acclimate/settings.py",)))


def test_only_the_database_commits():
    assert_none(broken_in(rules.commits, *rules.PRODUCT, but=("acclimate/storage/database.py",)))


@pytest.mark.parametrize("rule", [rules.clocks, rules.disks, rules.global_seeds])
def test_learning_has_no_clock_no_disk_and_no_global_seed(rule):
    assert_none(broken_in(rule, "acclimate/learning"))


@pytest.mark.parametrize(
    "rule",
    [
        rules.unsafe_loading,
        rules.long_files,
        rules.long_functions,
        rules.wrapped_signatures,
        rules.vague_classes,
        rules.full_init_files,
    ],
)
def test_every_python_file_keeps_the_rule(rule):
    assert_none(broken_in(rule))


def test_every_file_and_folder_says_what_it_is():
    assert_none([hit for path in rules.project_files() for hit in rules.vague_files(path)])


def test_no_file_names_a_path_of_one_machine():
    violations = []
    for path in rules.project_files():
        try:
            violations += rules.machine_paths(rules.read(path))
        except UnicodeDecodeError:  # a picture or an array
            continue
    assert_none(violations)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rules.environment, "import os\nx = os.environ['HOME']"),
        (rules.environment, "from os import getenv as ask\nask('HOME')"),
        (rules.commits, "session.commit()"),
        (rules.clocks, "import time"),
        (rules.clocks, "from datetime import datetime\ndatetime.now()"),
        (rules.disks, "open('x')"),
        (rules.disks, "from pathlib import Path"),
        (rules.disks, "path.read_text()"),
        (rules.disks, "import numpy as np\nnp.load('x.npy')"),
        (rules.global_seeds, "import torch\ntorch.manual_seed(0)"),
        (rules.global_seeds, "import numpy as np\nnp.random.seed(0)"),
        (rules.global_seeds, "import numpy as np\nrng = np.random.default_rng()"),
        (rules.global_seeds, "from random import shuffle"),
        (rules.unsafe_loading, "import torch\ntorch.load('m.pt', weights_only=True)"),
        (rules.unsafe_loading, "import pickle"),
        (rules.unsafe_loading, "load('x.npy', allow_pickle=True)"),
        (rules.long_files, "x = 1\n" * 401),
        (rules.long_functions, LONG_FUNCTION),
        (rules.long_functions, LONG_METHOD),
        (rules.wrapped_signatures, "def test_it(\n    service, http\n):\n    pass"),
        (rules.vague_classes, "class RunManager: pass"),
        (rules.machine_paths, "x = '/" + "work/main'"),
    ],
)
def test_a_planted_violation_is_caught(rule, text):
    assert rule(Source(path="planted.py", text=text))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (rules.environment, "import os\nos.getpid()\nenviron = {}\nenviron['x']"),
        (rules.commits, "session.committed()"),
        (rules.clocks, "now = 3.0\ntimes = now"),
        (rules.disks, "journal.open()"),
        (rules.global_seeds, "import numpy as np\nrng = np.random.default_rng(3)\nrng.random(3)"),
        (rules.unsafe_loading, "load('x.npy', allow_pickle=False)"),
        (rules.long_files, "x = 1\n" * 400),
        (rules.long_functions, "# long: one table of forty routes\n" + LONG_FUNCTION),
        (rules.long_functions, LONG_FUNCTION.replace("    x = 1\n", "", 1)),
        (
            rules.wrapped_signatures,
            "def test_it(service, http):\n    def send(\n        x\n    ): pass",
        ),
        (rules.vague_classes, "class DatabaseUrl: pass"),
        (rules.machine_paths, "x = '/workers/app and ../shared/work/x'"),
    ],
)
def test_what_only_looks_like_a_violation_is_let_through(rule, text):
    assert not rule(Source(path="planted.py", text=text))


def test_a_full_init_file_is_caught_and_another_file_is_not():
    assert rules.full_init_files(Source(path="acclimate/__init__.py", text="import os\n"))
    assert not rules.full_init_files(Source(path="acclimate/spec.py", text="import os\n"))


def test_a_vague_name_of_a_file_or_folder_is_caught_and_database_is_not():
    assert rules.vague_files("acclimate/storage/io_utils.py")
    assert rules.vague_files("acclimate/helpers/time.py")
    assert not rules.vague_files("acclimate/storage/database.py")
