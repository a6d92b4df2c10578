"""Writes the outcome of a run: what it found in its window, its version, and the promotion."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from acclimate.learning.data import Json, PseudoLabels
from acclimate.learning.evaluation.serving_guard import Serving
from acclimate.learning.outcomes import FirstVersion, Judged, Outcome, Quarantined, Trained
from acclimate.learning.spec import Gates, ModelSpec, Policy
from acclimate.learning.thresholds import DEFAULT
from acclimate.learning.training import recipes
from acclimate.learning.triggers import duration_seconds
from acclimate.storage.log import windows
from acclimate.storage.registry import audit_log, holds, models, promotions, versions, watches
from acclimate.storage.registry.versions import NewVersion
from acclimate.storage.runs import runs
from acclimate.storage.runs.runs import Claim, RunResults

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one attempt works on: its claim, the run and its model, and the rules the run obeys.

    `proved` is the version that the learner is compared with.
    """

    claim: Claim
    run: RowMapping
    model: RowMapping
    spec: ModelSpec
    policy: Policy
    gates: Gates
    proved: int = 1

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
            "thresholds": DEFAULT.as_json(),
            "recipe": _recipe(self.run["recipe"]),
        }
        return "sha256:" + hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _recipe(name: str) -> Json:
    """The values of a recipe; its name alone where no recipe has it."""
    found = recipes.RECIPES.get(name)
    return {"name": name} if found is None else asdict(found)


@dataclass(frozen=True, kw_only=True)
class Published:
    """The artifacts of a student: its own, and the one that holds its weights if that is another.

    `digest` is None where there is no student that can serve.
    """

    digest: str | None
    weights_digest: str | None = None


def publish(
    connection: Connection,
    task: Task,
    ended: Outcome | FirstVersion,
    *,
    published: Published,
    estimates: Mapping[int, Json],
) -> tuple[str, RunResults]:
    """End the run with all that it found; returns its state and its results.

    `estimates` are those that `window_estimates.of_run` returned, by number of the window. Raises
    `LeaseLost` and `RunCancelled`: then the transaction must not be committed.
    """
    models.lock(connection, task.model["id"])
    if not isinstance(ended, FirstVersion):
        _note_window(connection, task, ended, estimates)
    found = _results(task, ended)
    before = promotions.champion(connection, task.model["id"])
    promoted = isinstance(ended, Trained) and ended.promoted and published.digest is not None
    if promoted and not _parent_still_learns(connection, task):
        promoted = False
        found = replace(found, detail="another version was promoted while this run worked")
    serving = None if isinstance(ended, FirstVersion) else ended.serving
    if serving is not None and serving.withdraws:
        task = replace(task, proved=1)
        versions.set_proved(connection, task.model["id"], 1, serving.document)
    if serving is not None and serving.proves:
        proved = task.run["parent_version"]
        versions.set_proved(connection, task.model["id"], proved, serving.document)
    version = _new_version(task, ended, published, estimates)
    if version is not None:
        number = _add_version(connection, task, replace(version, promoted=promoted))
        found = replace(found, version=number)
    if serving is not None:
        found = replace(found, serving=_serve(connection, task, serving, found.version))
    if promoted and before is not None and found.evidence != "audited":
        _hold(connection, task, before.to_version, student=found.version)
    state = "succeeded" if promoted else "failed" if task.first else "rejected"
    runs.finish(connection, task.claim, state=state, results=replace(found, promoted=promoted))
    return state, found


def _serve(connection: Connection, task: Task, serving: Serving, student: int | None) -> Json:
    """Switch to the version that the guard says, unless it answers already; what the run keeps.

    `student` is the number of the version that this run made. An operator who meanwhile chose
    another learner is not overruled.
    """
    model_id, parent = task.model["id"], task.run["parent_version"]
    document = {**serving.document, "compared": parent, "proved": task.proved}
    learner = promotions.learner(connection, model_id)
    champion = promotions.champion(connection, model_id)
    if champion is None or learner is None or learner not in (parent, student):
        return document
    wanted = learner if serving.standing.serves == "learner" else task.proved
    if champion.to_version == wanted:
        return document
    run_id = task.run["id"]
    promotions.switch(
        connection,
        model_id,
        wanted,
        actor=watches.ACTOR,
        reason=serving.reason,
        run_id=run_id,
        comparison=document,
    )
    audit_log.write(
        connection,
        actor=watches.ACTOR,
        action="version.switch",
        target=task.model["name"],
        content={"version": wanted, "from": champion.to_version, "run": run_id},
    )
    return document


def _hold(connection: Connection, task: Task, answered: int, *, student: int | None) -> None:
    """The version that answered goes on, where the policy lets a student wait for labels."""
    seconds = duration_seconds(task.policy.hold_for_labels) or 0.0
    champion = promotions.champion(connection, task.model["id"])
    if seconds > 0 and champion is not None and champion.to_version == student:
        holds.begin(connection, task.model, answered, seconds=seconds, run_id=task.run["id"])


def _parent_still_learns(connection: Connection, task: Task) -> bool:
    """Whether learning still goes on from the run's parent version."""
    parent: int | None = task.run["parent_version"]
    return promotions.learner(connection, task.model["id"]) == parent


def _new_version(
    task: Task,
    ended: Outcome | FirstVersion,
    published: Published,
    estimates: Mapping[int, Json],
) -> NewVersion | None:
    """The version that this run made, not yet promoted; None where it made none."""
    if published.digest is None or not isinstance(ended, Trained):
        return None
    simulation = ended.simulation if isinstance(ended, FirstVersion) else None
    return NewVersion(
        digest=published.digest,
        weights_digest=published.weights_digest,
        promoted=False,
        parent=task.run["parent_version"],
        run_id=task.run["id"],
        gates=[asdict(gate) for gate in ended.verdict.gates],
        evidence=ended.verdict.evidence,
        mode=ended.student.serving_mode,
        expected=expectation(ended, estimates),
        lineage=ended.lineage.as_json(task.spec.input.classes),
        rehearsal=simulation.as_json() if simulation is not None else None,
    )


def _add_version(connection: Connection, task: Task, version: NewVersion) -> int:
    """Add the version, and promote it if it is to be; returns its number."""
    number = versions.add(connection, task.model["id"], version)
    if not version.promoted:
        return number
    epoch = promotions.promote(
        connection,
        task.model["id"],
        number,
        kind="first" if task.first else "promote",
        actor="loop",
        reason=task.run["reason"],
        run_id=task.run["id"],
        evidence=None if task.first else version.evidence,
    )
    audit_log.write(
        connection,
        actor="loop",
        action="version.promote",
        target=task.model["name"],
        content={"version": number, "epoch": epoch, "run": task.run["id"]},
    )
    return number


def expectation(ended: Trained, estimates: Mapping[int, Json]) -> Json | None:
    """How student and champion answered held-out rows, and the unrest of the window's traffic.

    Held-out rows are drawn at random: their own order says nothing of bursts.
    """
    unrest = max((told["served"]["answers"]["unrest"] for told in estimates.values()), default=0.0)
    known = {name: answers.as_json() for name, answers in ended.expected.items()}
    return {
        name: {**answers, "unrest": max(answers["unrest"], unrest)}
        for name, answers in known.items()
    } or None


def _note_window(
    connection: Connection, task: Task, ended: Outcome, estimates: Mapping[int, Json]
) -> None:
    """Write what the run found in its windows; an alarm quarantines those that nobody released."""
    drift, labels = ended.diagnosis.drift, labels_of(ended)
    answered = isinstance(ended, Judged) and ended.answered
    for number in task.run["windows"]:
        released = windows.get(connection, task.model["id"], number)["state"] == "released"
        found = windows.Findings(
            drift=drift.document,
            estimate=estimates.get(number),
            rows_pseudo_labelled=int(labels.accepted.sum()) if labels else 0,
            rows_refused=sum(labels.refused.values()) if labels else 0,
            state="quarantined" if drift.alarms and not (released or answered) else None,
        )
        windows.note(connection, task.model["id"], number, found)


def labels_of(ended: Outcome | FirstVersion) -> PseudoLabels | None:
    """The pseudo-labels of the run's window, where it came as far."""
    return None if isinstance(ended, FirstVersion | Quarantined) else ended.labels


def _results(task: Task, ended: Outcome | FirstVersion) -> RunResults:
    labels = labels_of(ended)
    verdict = ended.verdict if isinstance(ended, Trained) else None
    first = isinstance(ended, FirstVersion)
    return RunResults(
        detail=ended.detail,
        drift=None if isinstance(ended, FirstVersion) else ended.diagnosis.drift.document,
        gates=[asdict(gate) for gate in verdict.gates] if verdict else None,
        evidence=verdict.evidence if verdict and not first else None,
        rows_pseudo_labelled=int(labels.accepted.sum()) if labels else None,
        refused=labels.refused if labels else None,
        config_digest=task.config_digest,
    )
