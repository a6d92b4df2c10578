"""Rows of the label queue that judge: those on which served, proved and newest version differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from live_rows import Live
from stored_models import DIGEST, close_window

from acclimate.learning.models import bundle_format, networks
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.models.encoding import Normalisation
from acclimate.learning.models.modes import PLAIN, Mode, Standardised
from acclimate.learning.spec import InputSpec, NetworkSpec
from acclimate.storage.database import Database
from acclimate.storage.log import catalog
from acclimate.storage.registry import labels, models, promotions, versions
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.registry.labels import Label
from acclimate.storage.store import Store
from service.control import version_comparison
from service.control.label_queue import LabelQueue
from service.inference.model_slot import ModelSlots

ROWS = 40
INPUT = InputSpec(kind="vector", shape=(2,), classes=("a", "b"))
NETWORK = NetworkSpec(network="mlp", args={"hidden": []}, members=1)


def answers(b_from: int, rows: int = ROWS) -> np.ndarray:
    """Probabilities (rows, 2): the rows from this one on are of class b."""
    is_b = np.arange(rows) >= b_from
    return np.where(is_b[:, None], [0.1, 0.9], [0.9, 0.1]).astype(np.float32)


def bundle(b_from: int) -> Bundle:
    """The version that says b of the rows of a request from this one on."""
    member = networks.module(INPUT, NETWORK, 0, ())
    layer = next(part for part in member.modules() if isinstance(part, torch.nn.Linear))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, -100.0], [0.0, 100.0]]))
        layer.bias.copy_(torch.tensor([b_from - 0.5, 0.5 - b_from]))
    x = np.array([[0, row] for row in range(ROWS)], dtype=np.float32)
    made = Bundle(
        input_spec=INPUT,
        network_spec=NETWORK,
        members=(member.eval().requires_grad_(False),),
        encoding=Normalisation(
            kind="vector",
            shape=(2,),
            center=np.zeros(2, np.float32),
            scale=np.full(2, 0.01, np.float32),
            folded=np.zeros(2, bool),
        ),
        strength=1.0,
        temperature=1.0,
        selftest_x=x[:0],
        selftest_probabilities=np.empty((0, 2), np.float32),
    )
    return made.with_self_test(x)


class Asked:
    """A model of which version 1 answered 40 rows in one request, b from row 10 on."""

    def __init__(self, database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.live = Live(database, folder)
        self.database = database
        self.artifacts = Artifacts(Store(f"file://{folder / 'store'}", folder / "cache"))
        self.slots = ModelSlots(self.artifacts, ())
        self.queue = LabelQueue(database, self.live.segments, self.slots)
        self.live.log(1, answers(10), request="p")
        self.passes: list[int] = []
        original = Bundle.network_probabilities

        def counted(bundle: Bundle, x: Any, state: Any = None) -> Any:
            self.passes.append(len(x))
            return original(bundle, x, state)

        monkeypatch.setattr(Bundle, "network_probabilities", counted)

    def add(self, b_from: int, *, proved: bool = False, mode: Mode = PLAIN) -> int:
        """Make a version champion and learner, and the proved one if asked for."""
        made = bundle(b_from).with_mode(mode)
        number = self.live.add_version(digest=self.artifacts.write(*bundle_format.pack(made)))
        if proved:
            with self.database.write() as connection:
                models.lock(connection, self.live.model_id)
                versions.set_proved(connection, self.live.model_id, number, {})
        return number

    def serve(self, number: int) -> None:
        """Switch: the version answers, the learner stays."""
        with self.database.write() as connection:
            models.lock(connection, self.live.model_id)
            promotions.switch(
                connection,
                self.live.model_id,
                number,
                actor="watch",
                reason="better",
                run_id=None,
                comparison={},
            )

    def items(self, limit: int) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            model = models.named(connection, "gas")
        self.passes.clear()
        return self.queue.ask(model, limit=limit, with_input=False)[0]

    def judge(self, limit: int = 500) -> list[tuple[str, int]]:
        """The rows that judge, sorted."""
        return sorted(
            (item["prediction_id"], item["row"])
            for item in self.items(limit)
            if item["why"] == "judge"
        )


@pytest.fixture
def asked(database, tmp_path, monkeypatch) -> Asked:
    return Asked(database, tmp_path, monkeypatch)


def test_where_one_version_is_served_proved_and_newest_no_row_judges_and_none_is_loaded(asked):
    items = asked.items(10)
    assert [item["why"] for item in items] == ["teach"] * 10
    assert (asked.passes, asked.slots.versions(asked.live.model_id)) == ([], set())


def test_half_of_a_list_are_rows_on_which_served_proved_and_newest_version_differ(asked):
    asked.add(20, proved=True)
    asked.add(5)
    asked.serve(1)
    items = asked.items(10)
    assert [item["why"] for item in items] == ["judge", "teach"] * 5
    judge = items[::2]
    assert all(5 <= item["row"] < 20 for item in judge)
    assert {(item["propensity"], item["value"]) for item in judge} == {(5 / 15, 3.0)}
    # The answer that was served, not that of a version that it is compared with.
    assert {item["version"] for item in judge} == {"1"}
    assert all((item["label"] == "b") == (item["row"] >= 10) for item in judge)
    assert items == asked.items(10)
    assert asked.judge() == [("p", row) for row in range(5, 20)]


def test_a_row_answered_by_an_earlier_version_is_compared_on_the_answer_of_the_served_one(asked):
    asked.add(20, proved=True)
    asked.add(30)
    asked.serve(2)
    assert asked.judge() == [("p", row) for row in range(20, 30)]


def test_a_version_whose_mode_has_running_state_is_compared_in_its_starting_state(asked):
    # It reads a row as the one five rows before.
    asked.add(20, mode=Standardised.of(2, mean=np.array([0.0, 0.05])))
    assert asked.judge() == [("p", row) for row in range(10, 25)]


def test_rows_that_judge_are_drawn_by_another_key_than_rows_that_teach(asked):
    differing = range(10, ROWS)
    teaches = [item["row"] for item in asked.items(ROWS) if item["row"] in differing]
    asked.add(100)
    items = asked.items(30)
    assert [item["why"] for item in items[::2]] == ["judge"] * 15
    assert {item["row"] for item in items[::2]} != set(teaches[:15])


def test_a_version_answers_a_row_of_the_log_once_while_the_window_grows(asked):
    asked.add(20)
    asked.judge()
    assert sum(rows == ROWS for rows in asked.passes) == 1
    first = asked.judge()
    assert asked.passes == []
    asked.live.log(1, answers(10, 15), request="q")
    assert asked.judge() == [*first, *(("q", row) for row in range(10, 15))]
    assert asked.passes == [15]
    # Another newest version answers them anew; the served one did so already.
    asked.add(12)
    asked.serve(1)
    assert asked.judge() == [
        *(("p", row) for row in (10, 11)),
        *(("q", row) for row in (10, 11)),
    ]
    assert [rows for rows in asked.passes if rows in (15, ROWS)] == [15, ROWS]


def test_the_newest_rows_are_compared_up_to_a_bound(asked, monkeypatch):
    monkeypatch.setattr(version_comparison, "MOST_COMPARED", 25)
    asked.add(20)
    assert asked.judge() == [("p", row) for row in range(15, 20)]
    asked.live.log(1, answers(10, 15), request="q")
    # 15 rows of the second request, and the last 10 of the first one, from row 30 on.
    assert asked.judge() == [("q", row) for row in range(10, 15)]
    items = asked.items(4)
    assert (items[0]["why"], items[0]["propensity"]) == ("judge", 2 / 5)


def test_memory_of_compared_rows_is_bounded(asked, monkeypatch):
    monkeypatch.setattr(version_comparison, "MOST_HELD", 50)
    asked.live.log(1, answers(10), request="q")
    asked.add(20)
    found = asked.judge()
    assert asked.judge() == found and len(found) == 20
    assert asked.passes


def test_rows_that_somebody_labelled_or_called_wrong_do_not_judge_again(asked):
    asked.add(20)
    with asked.database.write() as connection:
        models.lock(connection, asked.live.model_id)
        [segment] = catalog.all_segments(connection, asked.live.model_id)
        about = {"prediction_id": "p", "source": "s", "segment": segment["id"]}
        given = [Label(row=10, label=0, **about), Label(row=11, label=None, wrong=1, **about)]
        labels.add(connection, asked.live.model_id, given)
    assert asked.judge() == [("p", row) for row in range(12, 20)]


def test_a_version_that_cannot_be_loaded_is_left_out(asked):
    asked.add(20)
    asked.live.add_version(digest=DIGEST.replace("0", "1"))
    asked.serve(2)
    # Version 1, which is proved, and version 2 are left.
    assert asked.judge() == [("p", row) for row in range(10, 20)]


def test_the_next_window_judges_with_its_own_rows(asked):
    asked.add(20)
    asked.judge()
    close_window(asked.database, asked.live.model_id)
    assert asked.judge() == []
    asked.live.log(1, answers(10, 15), request="q")
    assert asked.judge() == [("q", row) for row in range(10, 15)]
