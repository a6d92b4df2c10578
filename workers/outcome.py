"""The outcome of a run as the memory keeps it: what it found of its window, the version it made,
and whether that is champion.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from acclimate.learning.data import Json
from acclimate.learning.results import Verdict
from acclimate.learning.spec import Gates, ModelSpec, Policy
from acclimate.storage.log import windows
from acclimate.storage.registry import audit_log, models, promotions, versions
from acclimate.storage.runs import runs
from acclimate.storage.runs.runs import Claim

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

    from acclimate.learning.pipeline import Turn


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one attempt works on: its claim, the run and its model, and the rules that the run
    obeys.
    """

    claim: Claim
    run: RowMapping
    model: RowMapping
    spec: ModelSpec
    policy: Policy
    gates: Gates

    @property
    def first(self) -> bool:
        """Whether the run makes version 1."""
        return self.run["parent_version"] is None

    @property
    def config_digest(self) -> str:
        """One digest over all settings that this run obeys."""
        settings = {
            "spec": self.spec.as_json(),
            "policy": asdict(self.policy),
            "gates": asdict(self.gates),
        }
        return "sha256:" + hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def publish(
    connection: Connection,
    task: Task,
    turn: Turn,
    *,
    digest: str | None,
    weights_digest: str | None = None,
    estimates: Mapping[int, Json],
) -> dict[str, Any]:
    """End the run with all it found; its results. `digest` names the student's artifact, where
    there is one that can serve.

    `weights_digest` names the one that lends it its weights, if any. `estimates` has what the
    answers of each window told that had told nothing before. Raises `LeaseLost` and `RunCancelled`:
    then the transaction must not be committed, and nothing is published.
    """
    models.lock(connection, task.model["id"])
    _note_window(connection, task, turn, estimates)
    found = _results(task, turn)
    promoted = turn.promoted and digest is not None
    if promoted and not _parent_still_serves(connection, task):
        promoted, found["detail"] = False, "another version was promoted while this run worked"
    if digest is not None and turn.verdict is not None:
        expected = expectation(turn, estimates)
        mode = turn.student.mode.name if turn.student is not None else "plain"
        made = {
            "digest": digest,
            "weights_digest": weights_digest,
            "mode": mode,
            "expected": expected,
        }
        made["lineage"] = (
            turn.lineage.as_json(task.spec.input.classes) if turn.lineage is not None else None
        )
        made["rehearsal"] = turn.rehearsal.as_json() if turn.rehearsal is not None else None
        found["version"] = _add_version(connection, task, turn.verdict, promoted, **made)
    state = "succeeded" if promoted else "failed" if task.first else "rejected"
    runs.finish(connection, task.claim, state=state, promoted=promoted, **found)
    return {"state": state, **found}


def _parent_still_serves(connection: Connection, task: Task) -> bool:
    champion = promotions.champion(connection, task.model["id"])
    return (champion.to_version if champion else None) == task.run["parent_version"]


def _add_version(
    connection: Connection, task: Task, verdict: Verdict, promoted: bool, **made: Any
) -> int:
    number = versions.add(
        connection,
        task.model["id"],
        promoted=promoted,
        parent=task.run["parent_version"],
        run_id=task.run["id"],
        gates=[asdict(gate) for gate in verdict.gates],
        evidence=verdict.evidence,
        **made,
    )
    if promoted:
        kind, evidence = ("first", None) if task.first else ("promote", verdict.evidence)
        epoch = promotions.promote(
            connection,
            task.model["id"],
            number,
            kind=kind,
            actor="loop",
            reason=task.run["reason"],
            run_id=task.run["id"],
            evidence=evidence,
        )
        content = {"version": number, "epoch": epoch, "run": task.run["id"]}
        audit_log.write(
            connection, actor="loop", action="version.promote", target=task.model["name"], **content
        )
    return number


def expectation(turn: Turn, estimates: Mapping[int, Json]) -> Json | None:
    """How student and champion answered held-out rows, which were drawn at random, and how restless
    the window's traffic was.
    """
    unrest = max((told["served"]["answers"]["unrest"] for told in estimates.values()), default=0.0)
    known = {name: answers.as_json() for name, answers in turn.expected.items()}
    return {
        name: {**answers, "unrest": max(answers["unrest"], unrest)}
        for name, answers in known.items()
    } or None


def _note_window(
    connection: Connection, task: Task, turn: Turn, estimates: Mapping[int, Json]
) -> None:
    """What the run found, written beside the window it learnt from; an alarm quarantines a window
    that nobody vouched for.
    """
    if turn.drift is None:
        return
    labels = turn.labels
    found = {
        "drift": turn.drift.document,
        "rows_pseudo_labelled": int(labels.accepted.sum()) if labels else 0,
        "rows_refused": sum(labels.refused.values()) if labels else 0,
    }
    for number in task.run["windows"]:
        released = windows.get(connection, task.model["id"], number)["state"] == "released"
        state = {"state": "quarantined"} if turn.drift.alarms and not released else {}
        estimate = {"estimate": estimates[number]} if number in estimates else {}
        windows.note(connection, task.model["id"], number, **found, **state, **estimate)


def _results(task: Task, turn: Turn) -> dict[str, Any]:
    labels, verdict = turn.labels, turn.verdict
    return {
        "detail": turn.detail,
        "drift": turn.drift.document if turn.drift else None,
        "gates": [asdict(gate) for gate in verdict.gates] if verdict else None,
        "evidence": verdict.evidence if verdict and not task.first else None,
        "rows_pseudo_labelled": int(labels.accepted.sum()) if labels else None,
        "refused": labels.refused if labels else None,
        "config_digest": task.config_digest,
    }
