"""A model with versions, and rows answered by them, in real sealed and registered segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from stored_models import DIGEST, new_model, new_run

from acclimate.learning.data import Floats, Json
from acclimate.learning.evaluation.behaviour import Behaviour
from acclimate.storage.database import Database, clock
from acclimate.storage.log import catalog
from acclimate.storage.log.catalog import SegmentLine
from acclimate.storage.log.journal import Journal
from acclimate.storage.log.logged_rows import JournalSchema, LoggedRows, RequestRows
from acclimate.storage.log.segments import Segments
from acclimate.storage.registry import promotions, revisions, versions
from acclimate.storage.runs import runs
from acclimate.storage.store import Store

PASSED: Json = {
    "gate": "class_flow",
    "value": 0.0,
    "limit": 0.25,
    "n": 60,
    "verdict": "pass",
    "binds": True,
}


def answers(n: int, *, of_a: float = 0.5, confidence: float = 0.9) -> Floats:
    """Probabilities (n, 2): the share `of_a` of the rows, evenly spread, predicts "a"."""
    says_a = np.floor(np.arange(1, n + 1) * of_a + 1e-9) > np.floor(np.arange(n) * of_a + 1e-9)
    return np.where(
        says_a[:, None], [confidence, 1 - confidence], [1 - confidence, confidence]
    ).astype(np.float32)


USUAL = Behaviour.of(answers(60))
EXPECTED: Json = {"student": USUAL.as_json(), "champion": USUAL.as_json()}


def compared(share: float, *, version: int = 2, proved: int = 1) -> Json:
    """What a run keeps that compared a version with the proved one on 500 rows."""
    divergence = {"value": share, "threshold": 0.0, "n": 500, "lower": 0.0, "upper": share + 0.05}
    return {
        "serves": "learner",
        "gains": 0,
        "losses": 0,
        "advantage": {**divergence, "value": 0.01},
        "divergence": divergence,
        "consistency": {**divergence, "value": 0.02},
        "shadow": 0.0,
        "reason": "the learner serves",
        "proves": False,
        "refutes": False,
        "compared": version,
        "proved": proved,
    }


class Live:
    """A model whose version 1 is champion, and its log; its answers have so many classes."""

    def __init__(self, database: Database, folder: Path, *, classes: int = 2) -> None:
        self.database = database
        self.classes = classes
        self.segments = Segments(Store(f"file://{folder / 'store'}", folder / "cache"))
        self.folder = folder
        self.model_id = new_model(database)
        self.requests = 0
        self.add_version(first=True)

    def policy(self, **changes: object) -> None:
        """Append a revision of the policy with these changes."""
        with self.database.write() as connection:
            number, content = revisions.get(connection, self.model_id, "policy")
            revisions.append(
                connection,
                self.model_id,
                "policy",
                content | changes,
                actor="test",
                expected=number,
            )

    def add_version(
        self,
        *,
        first: bool = False,
        gates: tuple[Json, ...] = (PASSED,),
        windows: tuple[int, ...] = (),
        digest: str = DIGEST,
    ) -> int:
        """Promote a new version that learnt from these windows; returns its number.

        Its expected answers are `EXPECTED`.
        """
        with self.database.write() as connection:
            current = promotions.champion(connection, self.model_id)
            run_id = new_run(connection, self.model_id, windows=list(windows))
            claim = runs.claim(connection, run_id, owner="worker-0")
            assert claim is not None
            number = versions.add(
                connection,
                self.model_id,
                versions.NewVersion(
                    digest=digest,
                    promoted=True,
                    parent=current.to_version if current else None,
                    run_id=run_id,
                    gates=list(gates),
                    evidence="label_free",
                    expected=EXPECTED,
                ),
            )
            kind = "first" if first else "promote"
            promotions.promote(
                connection,
                self.model_id,
                number,
                kind=kind,
                actor="loop",
                reason=None,
                run_id=run_id,
            )
            runs.finish(
                connection,
                claim,
                state="succeeded",
                results=runs.RunResults(version=number, promoted=True),
            )
        return number

    def compare(self, found: Json) -> str:
        """End a run that kept this of who serves, and changed nothing; returns its id."""
        with self.database.write() as connection:
            run_id = new_run(connection, self.model_id, parent_version=1)
            claim = runs.claim(connection, run_id, owner="worker-0")
            assert claim is not None
            runs.finish(connection, claim, state="rejected", results=runs.RunResults(serving=found))
        return run_id

    def switch(self, version: int, found: Json, reason: str) -> None:
        """Let this version answer, as the serving guard does."""
        told: Json = {"actor": "watch", "reason": reason, "run_id": None, "comparison": found}
        with self.database.write() as connection:
            promotions.switch(connection, self.model_id, version, **told)

    def log(
        self,
        version: int,
        given: Floats,
        *,
        request: str | None = None,
        behind_seconds: float = 0.0,
    ) -> None:
        """Log these answers of this version in a sealed and registered segment.

        The replica's clock is so many seconds behind the database's.
        """
        with self.database.read() as connection:
            at = clock(connection) - behind_seconds
        schema = JournalSchema(
            kind="vector",
            shape=(2,),
            classes=self.classes,
            model=self.model_id,
            replica="api-0",
        )
        journal = Journal.open(self.folder / "journal", schema, at)
        journal.append(self._request(version, given, at, request))
        sealed = journal.seal()
        assert sealed is not None
        line = SegmentLine(
            id=sealed.id,
            model_id=self.model_id,
            replica="api-0",
            key=self.segments.put(sealed, self.model_id),
            digest=sealed.digest,
            rows=sealed.rows,
            bytes=sealed.bytes,
            first_logged_at=at,
            last_logged_at=at,
        )
        with self.database.write() as connection:
            catalog.register(connection, line)

    def _request(
        self, version: int, given: Floats, at: float, request: str | None = None
    ) -> LoggedRows:
        self.requests += 1
        return LoggedRows.of_request(
            RequestRows(
                prediction_id=request or f"r{self.requests}",
                version=str(version),
                logged_at=at,
                client="key",
                x=np.array([(self.requests, row) for row in range(len(given))], np.float32),
                probabilities=given,
            )
        )
