"""Claims, crashes, cancellations, publications and rollbacks in any order agree with a model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stored_models import DIGEST, expire_lease, new_model, new_run, new_version

from acclimate.storage.database import Database
from acclimate.storage.registry import audit_log, models, promotions, versions
from acclimate.storage.runs import runs
from acclimate.storage.runs.runs import Claim, LeaseLost, RunActive, RunCancelled, RunEnded
from migrations.run import upgrade

pytestmark = pytest.mark.slow

SELDOM = st.sampled_from((False, False, False, False, True))
OFTEN = st.sampled_from((True, True, False))


class Crash(Exception):
    """The process dies before its transaction commits."""


@dataclass
class Expected:
    """What a reader of the rules expects of the database."""

    run: str | None = None
    state: str = ""
    token: int = 0
    attempt: int = 0
    alive: bool = False
    """The newest claim's lease has not expired."""
    versions: int = 1
    promoted: list[int] = field(default_factory=lambda: [1])
    """Versions that were champion, epoch by epoch."""


class RunsAndPointer(RuleBasedStateMachine):
    """One model, whoever works on it: some hold old claims and do not know."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(f"sqlite:///{Path(self.folder.name) / 'a.db'}")
        upgrade(self.database)
        self.expected = Expected()
        self.claims: list[Claim] = []

    @initialize()
    def first_version(self) -> None:
        self.model_id = new_model(self.database)
        with self.database.write() as connection:
            new_version(connection, self.model_id)

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    def write(self, deed: Any, *, crash: bool = False) -> Any:
        with self.database.write() as connection:
            found = deed(connection)
            if crash:
                raise Crash
            return found

    @rule(crash=SELDOM)
    def start(self, crash: bool) -> None:
        try:
            run_id = self.write(
                lambda connection: new_run(
                    connection, self.model_id, windows=[1], parent_version=1
                ),
                crash=crash,
            )
        except RunActive:
            assert self.expected.run is not None
        except Crash:
            assert self.expected.run is None
        else:
            assert self.expected.run is None
            self.expected.run, self.expected.state, self.expected.attempt, self.expected.token = (
                run_id,
                "queued",
                0,
                0,
            )

    @precondition(lambda self: self.expected.run is not None)
    @rule(crash=SELDOM)
    def claim(self, crash: bool) -> None:
        expected = self.expected
        free = expected.state == "queued" or not expected.alive
        try:
            claim = self.write(
                lambda connection: runs.claim(connection, expected.run, owner="w"), crash=crash
            )
        except Crash:
            return
        if not free:
            assert claim is None
        elif expected.state == "cancelling" or expected.attempt == runs.MOST_ATTEMPTS:
            assert claim is None
            expected.run = None
        else:
            expected.state, expected.alive = "running", True
            expected.attempt, expected.token = expected.attempt + 1, expected.token + 1
            assert claim == Claim(
                run_id=expected.run, token=expected.token, attempt=expected.attempt
            )
            self.claims.append(claim)

    @precondition(lambda self: self.expected.alive and self.expected.run is not None)
    @rule()
    def die(self) -> None:
        assert self.expected.run is not None
        expire_lease(self.database, self.expected.run)
        self.expected.alive = False

    @precondition(lambda self: self.claims)
    @rule(which=st.integers(0, 99), promoted=OFTEN, crash=SELDOM)
    def publish(self, which: int, promoted: bool, crash: bool) -> None:
        """By any claim that was ever given, most of them old."""
        claim, expected = self.claims[which % len(self.claims)], self.expected

        def deed(connection: Any) -> int:
            models.lock(connection, self.model_id)
            made = {"digest": DIGEST, "parent": 1, "gates": [], "evidence": "label_free"}
            number = versions.add(
                connection,
                self.model_id,
                versions.NewVersion(promoted=promoted, run_id=claim.run_id, **made),
            )
            if promoted:
                who = {"actor": "loop", "reason": None, "run_id": claim.run_id}
                promotions.promote(connection, self.model_id, number, kind="promote", **who)
            state = "succeeded" if promoted else "rejected"
            runs.finish(
                connection,
                claim,
                state=state,
                results=runs.RunResults(version=number, promoted=promoted),
            )
            return number

        newest = expected.run == claim.run_id and expected.token == claim.token
        try:
            number = self.write(deed, crash=crash)
        except LeaseLost:
            assert not newest
        except RunCancelled:
            assert newest and expected.state == "cancelling"
        except Crash:
            assert newest and expected.state == "running"
        else:
            assert newest and expected.state == "running"
            expected.versions += 1
            assert number == expected.versions
            expected.promoted += [number] if promoted else []
            expected.run, expected.alive = None, False

    @precondition(lambda self: self.expected.run is not None)
    @rule(crash=SELDOM)
    def cancel(self, crash: bool) -> None:
        expected = self.expected
        try:
            self.write(lambda connection: runs.cancel(connection, expected.run), crash=crash)
        except Crash:
            return
        except RunEnded:
            raise AssertionError("the run had not ended") from None
        if expected.state == "queued" or not expected.alive:
            expected.run, expected.alive = None, False
        else:
            expected.state = "cancelling"

    @precondition(lambda self: len(self.expected.promoted) > 1)
    @rule(to=st.integers(1, 4), crash=SELDOM)
    def roll_back(self, to: int, crash: bool) -> None:
        known = set(self.expected.promoted) - {self.expected.promoted[-1]}
        try:
            _, version = self.write(
                lambda connection: promotions.roll_back(
                    connection, self.model_id, to=to, actor="anna", reason="r"
                ),
                crash=crash,
            )
        except (versions.UnknownVersion, promotions.AlreadyChampion):
            assert to not in known
        except Crash:
            assert to in known
        else:
            assert version == to and to in known
            self.expected.promoted.append(to)

    @invariant()
    def the_database_says_what_is_expected(self) -> None:
        expected = self.expected
        with self.database.read() as connection:
            active = runs.active(connection, self.model_id)
            champion = promotions.champion(connection, self.model_id)
            history = promotions.list_all(connection, self.model_id)
            numbers = [row["number"] for row in versions.list_all(connection, self.model_id)]
            assert audit_log.verify(connection).broken is None
        assert (active["id"] if active else None) == expected.run
        if active is not None:
            assert (active["state"], active["token"], active["attempt"]) == (
                expected.state,
                expected.token,
                expected.attempt,
            )
        assert champion is not None
        assert [row["to_version"] for row in history] == expected.promoted
        assert [row["epoch"] for row in history] == list(range(1, len(expected.promoted) + 1))
        assert (champion.epoch, champion.to_version) == (
            len(expected.promoted),
            expected.promoted[-1],
        )
        assert numbers == list(range(1, expected.versions + 1))


TestRunsAndPointer = RunsAndPointer.TestCase
TestRunsAndPointer.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
