"""The HTTP client: one method per operation of the API. Values are the API's JSON, unchanged."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from acclimate.client import spec_parts, tensors
from acclimate.client.errors import Json
from acclimate.client.events import Event
from acclimate.client.wire import Wire

TERMINAL = ("succeeded", "rejected", "failed", "cancelled")
"""The states of a run that has ended."""

LONGEST_WAIT = 30.0
"""The longest `wait` of one GET of a run, in seconds."""
BARRIER_SECONDS = 60.0
"""Timeout of POST runs, which waits until every live replica has sealed its log."""


class Client:
    """The client of one service with one key; close it, or use it in `with`.

    A 429 or 503 is retried after its Retry-After, at most six times. For `patience` seconds a
    refused connection is retried, and so is a broken connection where a repeated request does no
    harm: reads, and `start_run`, which sends an Idempotency-Key.

    Raises `UnreachableError` when no usable reply comes, else the classes of
    `acclimate.client.errors`.

    Args:
        timeout: seconds to wait for a reply.
    """

    def __init__(
        self, url: str, key: str | None = None, *, patience: float = 0.0, timeout: float = 30.0
    ) -> None:
        self._wire = Wire(url, key, patience=patience, timeout=timeout)

    @property
    def url(self) -> str:
        return self._wire.url

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        self._wire.close()

    # models

    def live(self) -> Json:
        """`{"live": true}`. Needs no key."""
        return self._wire.json("GET", "/v2/health/live")

    def status(self) -> Json:
        """The three health states with their reasons, of the service and of each model."""
        return self._wire.json("GET", "/api/v1/status")

    def models(self) -> list[Json]:
        return list(self._wire.items("/api/v1/models"))

    def model(self, model: str) -> Json:
        return self._wire.json("GET", _model(model))

    def create(self, spec_path: Path) -> Json:
        """Register the model of a SPEC.toml with the seed set and weights that it names.

        Returns the run that trains version 1. Raises `OSError` for a missing file, `FileError` when
        the spec is not TOML or names no seed set, `ModelExistsError`, and `InvalidError` with every
        problem found.
        """
        parts = spec_parts.read(spec_path)
        return self._wire.json("POST", "/api/v1/models", files=parts, timeout=120.0)

    def delete(self, model: str) -> None:
        """Delete a model with everything that belongs to it. Raises `RunActiveError`."""
        self._wire.request("DELETE", _model(model))

    def learning(self, model: str, state: str, reason: str) -> Json:
        """Set automatic learning `on` or `paused`; serving is not affected."""
        return self._wire.json("PATCH", _model(model), json={"learning": state, "reason": reason})

    def erase_subject(self, model: str, subject: str) -> Json:
        """Erase the rows of a data subject.

        Returns the number of rows erased so far, and the versions that learnt from one.
        """
        return self._wire.json(
            "DELETE", f"{_model(model)}/subjects/{quote(subject, safe='')}", timeout=60.0
        )

    # rows

    def predict(
        self, model: str, rows: Any, *, log: bool | None = None, subject: str | None = None
    ) -> Json:
        """The champion's predictions for rows (N, *shape).

        Args:
            rows: lists or an array; a row of text is a string. N is at most 4096 by default.
            log: False keeps the rows out of the log.
            subject: the data subject of the rows, for a later erasure.
        """
        body: Json = {"rows": tensors.plain(rows)}
        if log is not None:
            body["log"] = log
        if subject is not None:
            body["subject"] = subject
        return self._wire.json("POST", f"{_model(model)}/predict", json=body)

    def infer(
        self,
        model: str,
        rows: Any,
        *,
        version: str | None = None,
        id: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        outputs: Sequence[str] = (),
    ) -> Json:
        """The Open Inference Protocol's reply to rows (N, *shape), sent as one tensor.

        The datatype is BYTES for strings (N,) or (N, 1), INT64 for whole numbers, else FP32.

        Args:
            version: the version that predicts; by default the champion.
        """
        body: Json = {"inputs": [{"name": "input", **tensors.tensor(rows)}]}
        if id is not None:
            body["id"] = id
        if parameters:
            body["parameters"] = dict(parameters)
        if outputs:
            body["outputs"] = [{"name": name} for name in outputs]
        by_name = f"/versions/{quote(version, safe='')}" if version else ""
        return self._wire.json(
            "POST", f"/v2/models/{quote(model, safe='')}{by_name}/infer", json=body
        )

    def feedback(self, model: str, labels: Sequence[Mapping[str, Any]]) -> Json:
        """Send labels `{"prediction_id", "row", "label", "source", "label_time"}`, at most 10,000.

        `"right": true` or `false` instead of `label` says whether the answer was right.
        Returns the counts accepted and duplicates, and the rejected entries.
        """
        return self._wire.json(
            "POST", f"{_model(model)}/feedback", json=[dict(label) for label in labels]
        )

    def label_queue(self, model: str, *, limit: int = 25, include_input: bool = False) -> Json:
        """Rows of the open window to label next, and the reason when there are none."""
        params = {"limit": limit, **({"include": "input"} if include_input else {})}
        return self._wire.json("GET", f"{_model(model)}/label-queue", params=params)

    def rows(
        self,
        model: str,
        *,
        window: str | None = None,
        fields: Sequence[str] = (),
        page_size: int = 500,
    ) -> Iterator[Json]:
        """Every stored copy of every row, page by page; `fields` adds `input`, `prediction`."""
        params: dict[str, Any] = {"page_size": page_size}
        if window is not None:
            params["window"] = window
        if fields:
            params["fields"] = ",".join(fields)
        while True:
            reply = self._wire.request("GET", f"{_model(model)}/rows", params=params)
            for line in reply.text.split("\n"):
                if line.strip():
                    yield json.loads(line)
            token = reply.headers.get("Next-Page-Token")
            if not token:
                return
            params["page_token"] = token

    # windows and runs

    def windows(self, model: str) -> list[Json]:
        """All windows, oldest first, the open one last."""
        return list(self._wire.items(f"{_model(model)}/windows"))

    def quarantine(self, model: str, window: str, reason: str) -> Json:
        """Exclude a window from learning."""
        return self._wire.json(
            "POST",
            f"{_model(model)}/windows/{quote(window, safe='')}/quarantine",
            json={"reason": reason},
        )

    def release(self, model: str, window: str, reason: str) -> Json:
        """Let runs learn from a quarantined window again."""
        return self._wire.json(
            "POST",
            f"{_model(model)}/windows/{quote(window, safe='')}/release",
            json={"reason": reason},
        )

    def start_run(
        self,
        model: str,
        *,
        reason: str | None = None,
        recipe: str | None = None,
        windows: Sequence[str] = (),
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Json:
        """Close the open window and start a run that learns from it; with `dry_run` only plan one.

        Every row acknowledged before this call is in the window. Raises `RunActiveError` and
        `NotEnoughRowsError`; then nothing was changed.
        """
        body: Json = {
            "reason": reason,
            "recipe": recipe,
            "windows": list(windows) or None,
            "dry_run": dry_run or None,
        }
        return self._wire.json(
            "POST",
            f"{_model(model)}/runs",
            json={key: value for key, value in body.items() if value is not None},
            headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
            timeout=BARRIER_SECONDS,
            repeatable=True,
        )

    def runs(self, *, model: str | None = None) -> list[Json]:
        return list(self._wire.items("/api/v1/runs", {"model": model} if model else {}))

    def run(self, run: str, *, wait: float | None = None) -> Json:
        """The run; with `wait`, when it has ended, or after that many seconds."""
        path = _run(run)
        if wait is None:
            return self._wire.json("GET", path)
        end = time.monotonic() + wait
        while True:
            hold = max(0.0, min(LONGEST_WAIT, end - time.monotonic()))
            found = self._wire.json("GET", path, params={"wait": int(hold)}, timeout=hold + 30.0)
            if found["state"] in TERMINAL or time.monotonic() >= end:
                return found
            if hold < 1:
                time.sleep(min(0.2, hold))

    def events(self, run: str, *, after: str | None = None) -> Iterator[Event]:
        """The run's events up to `end`; broken connections are resumed.

        Args:
            after: the id of the event to resume after.
        """
        return self._wire.events(f"{_run(run)}/events", after=after)

    def logs(self, run: str, *, attempt: int | None = None) -> list[Json]:
        """The log lines of every attempt of the run, or of one."""
        reply = self._wire.request(
            "GET", f"{_run(run)}/logs", params={"attempt": attempt} if attempt is not None else {}
        )
        return [json.loads(line) for line in reply.text.split("\n") if line.strip()]

    def cancel(self, run: str) -> Json:
        return self._wire.json("POST", f"{_run(run)}/cancel")

    def retry(self, run: str) -> Json:
        """Start a new run over the same windows."""
        return self._wire.json("POST", f"{_run(run)}/retry")

    # versions

    def versions(self, model: str) -> list[Json]:
        return list(self._wire.items(f"{_model(model)}/versions"))

    def version(self, model: str, version: str) -> Json:
        return self._wire.json("GET", f"{_model(model)}/versions/{quote(version, safe='')}")

    def delete_version(self, model: str, version: str) -> None:
        """Delete the artifact of a version. Raises `ConflictError` for one that has an alias."""
        self._wire.request("DELETE", f"{_model(model)}/versions/{quote(version, safe='')}")

    def promotions(self, model: str) -> list[Json]:
        """Every change of champion, oldest first."""
        return list(self._wire.items(f"{_model(model)}/promotions"))

    def alias(self, model: str, alias: str) -> tuple[Json, str]:
        """The version of an alias, and the ETag for changing it."""
        return self._wire.tagged(f"{_model(model)}/aliases/{quote(alias, safe='')}")

    def promote(
        self,
        model: str,
        version: str,
        reason: str,
        *,
        override: bool = False,
        etag: str | None = None,
    ) -> Json:
        """Promote a version to champion.

        Args:
            override: promote also a version that did not pass its gates.
            etag: the ETag of the champion alias that was read before; the newest by default.

        Raises `PreconditionError` when the champion changed since `etag`, and
        `GateNotPassedError`.
        """
        tag = etag or self.alias(model, "champion")[1]
        body: Json = {
            "version": version,
            "reason": reason,
            **({"override": True} if override else {}),
        }
        return self._wire.json(
            "PUT", f"{_model(model)}/aliases/champion", json=body, headers={"If-Match": tag}
        )

    def rollback(
        self, model: str, reason: str, *, to: str | None = None, pause_learning: bool | None = None
    ) -> Json:
        """Make an earlier version champion again: `to`, or the previous one."""
        body: Json = {"to": to, "reason": reason, "pause_learning": pause_learning}
        given = {key: value for key, value in body.items() if value is not None}
        return self._wire.json("POST", f"{_model(model)}/rollback", json=given)

    # rules

    def policy(self, model: str) -> tuple[Json, str]:
        """The policy and its ETag."""
        return self._wire.tagged(f"{_model(model)}/policy")

    def set_policy(self, model: str, policy: Mapping[str, Any], etag: str) -> Json:
        return self._wire.json(
            "PUT", f"{_model(model)}/policy", json=dict(policy), headers={"If-Match": etag}
        )

    def gates(self, model: str) -> tuple[Json, str]:
        """The gates' limits and their ETag."""
        return self._wire.tagged(f"{_model(model)}/gates")

    def set_gates(self, model: str, gates: Mapping[str, Any], etag: str) -> Json:
        return self._wire.json(
            "PUT", f"{_model(model)}/gates", json=dict(gates), headers={"If-Match": etag}
        )

    def drift(self, model: str) -> Json:
        return self._wire.json("GET", f"{_model(model)}/drift")

    def calibration(self, model: str) -> Json:
        return self._wire.json("GET", f"{_model(model)}/calibration")

    # keys and audit log

    def keys(self) -> list[Json]:
        return list(self._wire.items("/api/v1/keys"))

    def create_key(self, name: str, scopes: Sequence[str]) -> Json:
        """Create a key; its secret is in `key` of this reply only."""
        return self._wire.json("POST", "/api/v1/keys", json={"name": name, "scopes": list(scopes)})

    def revoke_key(self, key: str) -> None:
        self._wire.request("DELETE", f"/api/v1/keys/{quote(key, safe='')}")

    def audit(self) -> list[Json]:
        return list(self._wire.items("/api/v1/audit"))

    def verify_audit(self, *, expect: str | None = None) -> Json:
        """Verify the audit log: `intact`, `entries`, `head`, `broken`, and `seen` (whether an entry
        has the hash `expect`).
        """
        return self._wire.json(
            "GET", "/api/v1/audit/verify", params={"expect": expect} if expect else {}
        )


def _model(model: str) -> str:
    return f"/api/v1/models/{quote(model, safe='')}"


def _run(run: str) -> str:
    return f"/api/v1/runs/{quote(run, safe='')}"
