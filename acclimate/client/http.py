"""The HTTP client: one method for each verb of the service, with the service's words. Values are
its JSON, untouched.
"""

from __future__ import annotations

import json
import time
import tomllib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from acclimate.client import replies, tensors
from acclimate.client.errors import FileError, Json, UnreachableError, problem
from acclimate.client.events import Event, follow

TERMINAL = ("succeeded", "rejected", "failed", "cancelled")
"""The states that a run does not leave."""

LONGEST_WAIT = 30.0
"""Seconds that one GET of a run asks the service to hold its answer back."""
BARRIER_SECONDS = 60.0
"""How long POST runs may take: it waits for every live replica to seal its log."""
BUSY_RETRIES = 6


class Client:
    """Speaks to one service with one key; close it, or use it in `with`.

    Errors: `UnreachableError` when no usable answer comes, else the classes of
    `acclimate.client.errors`. A 503 is asked again after its Retry-After, at most six times. For
    `patience` seconds a refused connection is tried again, and so is a broken one where asking
    twice does no harm (reads, and runs, which carry an Idempotency-Key).
    """

    def __init__(
        self, url: str, key: str | None = None, *, patience: float = 0.0, timeout: float = 30.0
    ) -> None:
        self.url = url.rstrip("/")
        self.patience = patience
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

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
        """Close the connections; the client is of no use afterwards."""
        self._http.close()

    # models

    def live(self) -> Json:
        """`{"live": true}`; asks for no key."""
        return self._json("GET", "/v2/health/live")

    def status(self) -> Json:
        """The three lamps with reasons, and those of each model."""
        return self._json("GET", "/api/v1/status")

    def models(self) -> list[Json]:
        return list(self._items("/api/v1/models"))

    def model(self, model: str) -> Json:
        return self._json("GET", _model(model))

    def create(self, spec_path: Path) -> Json:
        """Register the model of a SPEC.toml with the seed set and weights it names; the run that
        trains version 1.

        Raises `OSError` when a file is missing, `FileError` when the spec is not TOML or names no
        seed set, `ModelExistsError`, and `InvalidError` with every wrong place.
        """
        text = spec_path.read_text(encoding="utf-8")
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise FileError(f"{spec_path} is not TOML: {error}") from None
        seed, weights = (
            _entry(document, *place) for place in (("seed", "path"), ("model", "weights"))
        )
        if not seed:
            raise FileError(f"{spec_path} names no seed set: give [seed] path")
        parts: list[tuple[str, tuple[str, bytes]]] = [("spec", ("spec.toml", text.encode()))]
        for part, path in (("seed", seed), ("weights", weights)):
            if path:
                parts.append((part, (Path(path).name, (spec_path.parent / path).read_bytes())))
        return self._json("POST", "/api/v1/models", files=parts, timeout=120.0)

    def delete(self, model: str) -> None:
        """Delete a model with all that belongs to it. Raises `RunActiveError`."""
        self._request("DELETE", _model(model))

    def learning(self, model: str, state: str, reason: str) -> Json:
        """Set learning `on` or `paused`; serving goes on either way."""
        return self._json("PATCH", _model(model), json={"learning": state, "reason": reason})

    def erase_subject(self, model: str, subject: str) -> Json:
        """Erase the rows of a data subject; how many were erased so far, and the versions that
        learnt from one.
        """
        return self._json(
            "DELETE", f"{_model(model)}/subjects/{quote(subject, safe='')}", timeout=60.0
        )

    # rows

    def predict(
        self, model: str, rows: Any, *, log: bool | None = None, subject: str | None = None
    ) -> Json:
        """The champion's answers to rows (N, *shape), as lists or an array; a row of text is a
        string.

        N is at most 512 where the service sets no more.
        """
        body: Json = {"rows": tensors.plain(rows)}
        if log is not None:
            body["log"] = log
        if subject is not None:
            body["subject"] = subject
        return self._json("POST", f"{_model(model)}/predict", json=body)

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
        """The Open Inference Protocol's reply to rows (N, *shape) as one tensor, by the champion or
        a version by name.

        Its datatype follows from the rows: BYTES for strings (N,) or (N, 1), INT64 for whole
        numbers, else FP32.
        """
        body: Json = {"inputs": [{"name": "input", **tensors.tensor(rows)}]}
        if id is not None:
            body["id"] = id
        if parameters:
            body["parameters"] = dict(parameters)
        if outputs:
            body["outputs"] = [{"name": name} for name in outputs]
        place = f"/versions/{quote(version, safe='')}" if version else ""
        return self._json("POST", f"/v2/models/{quote(model, safe='')}{place}/infer", json=body)

    def feedback(self, model: str, labels: Sequence[Mapping[str, Any]]) -> Json:
        """Hand in labels `{"prediction_id", "row", "label", "source"}`, at most 10,000: accepted,
        duplicates, rejected.
        """
        return self._json(
            "POST", f"{_model(model)}/feedback", json=[dict(label) for label in labels]
        )

    def label_queue(self, model: str, *, limit: int = 25, include_input: bool = False) -> Json:
        """The open window's rows whose labels decide most, with why."""
        params = {"limit": limit, **({"include": "input"} if include_input else {})}
        return self._json("GET", f"{_model(model)}/label-queue", params=params)

    def rows(
        self,
        model: str,
        *,
        window: str | None = None,
        fields: Sequence[str] = (),
        page_size: int = 500,
    ) -> Iterator[Json]:
        """Every stored copy of every row, page by page; `fields` may name input and prediction."""
        params: dict[str, Any] = {"page_size": page_size}
        if window is not None:
            params["window"] = window
        if fields:
            params["fields"] = ",".join(fields)
        while True:
            reply = self._request("GET", f"{_model(model)}/rows", params=params)
            for line in reply.text.split("\n"):
                if line.strip():
                    yield json.loads(line)
            token = reply.headers.get("Next-Page-Token")
            if not token:
                return
            params["page_token"] = token

    # windows and runs

    def windows(self, model: str) -> list[Json]:
        """Oldest first, the open one last."""
        return list(self._items(f"{_model(model)}/windows"))

    def quarantine(self, model: str, window: str, reason: str) -> Json:
        """Keep a window from being learnt from."""
        return self._json(
            "POST",
            f"{_model(model)}/windows/{quote(window, safe='')}/quarantine",
            json={"reason": reason},
        )

    def release(self, model: str, window: str, reason: str) -> Json:
        """Let a quarantined window be learnt from again."""
        return self._json(
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
        """Close the open window and make the run that learns from it, or the plan of one with
        `dry_run`.

        Every row acknowledged before this call is in the window. Raises `RunActiveError` and
        `NotEnoughRowsError`, which leave everything as it was.
        """
        body: Json = {
            "reason": reason,
            "recipe": recipe,
            "windows": list(windows) or None,
            "dry_run": dry_run or None,
        }
        return self._json(
            "POST",
            f"{_model(model)}/runs",
            json={key: value for key, value in body.items() if value is not None},
            headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
            timeout=BARRIER_SECONDS,
            harmless=True,
        )

    def runs(self, *, model: str | None = None) -> list[Json]:
        return list(self._items("/api/v1/runs", {"model": model} if model else {}))

    def run(self, run: str, *, wait: float | None = None) -> Json:
        """The run now; with `wait`, when its state is terminal or after so many seconds (any
        number: it asks as often as that takes).
        """
        path = _run(run)
        if wait is None:
            return self._json("GET", path)
        end = time.monotonic() + wait
        while True:
            hold = max(0.0, min(LONGEST_WAIT, end - time.monotonic()))
            found = self._json("GET", path, params={"wait": int(hold)}, timeout=hold + 30.0)
            if found["state"] in TERMINAL or time.monotonic() >= end:
                return found
            if hold < 1:
                time.sleep(min(0.2, hold))

    def events(self, run: str, *, after: str | None = None) -> Iterator[Event]:
        """What becomes of the run, up to its `end`; goes on by itself where a connection breaks.
        `after` is an event's id.
        """
        return follow(self._http, f"{_run(run)}/events", after=after, patience=self.patience)

    def logs(self, run: str, *, attempt: int | None = None) -> list[Json]:
        """The log lines of every attempt at the run, or of one."""
        reply = self._request(
            "GET", f"{_run(run)}/logs", params={"attempt": attempt} if attempt is not None else {}
        )
        return [json.loads(line) for line in reply.text.split("\n") if line.strip()]

    def cancel(self, run: str) -> Json:
        return self._json("POST", f"{_run(run)}/cancel")

    def retry(self, run: str) -> Json:
        """A new run over the same window."""
        return self._json("POST", f"{_run(run)}/retry")

    # versions

    def versions(self, model: str) -> list[Json]:
        return list(self._items(f"{_model(model)}/versions"))

    def version(self, model: str, version: str) -> Json:
        return self._json("GET", f"{_model(model)}/versions/{quote(version, safe='')}")

    def delete_version(self, model: str, version: str) -> None:
        """Delete the artifact of a version that no alias names; `ConflictError` for one that has an
        alias.
        """
        self._request("DELETE", f"{_model(model)}/versions/{quote(version, safe='')}")

    def promotions(self, model: str) -> list[Json]:
        """Oldest first."""
        return list(self._items(f"{_model(model)}/promotions"))

    def alias(self, model: str, alias: str) -> tuple[Json, str]:
        """What an alias names, and the ETag that a change of it must quote."""
        return self._tagged(f"{_model(model)}/aliases/{quote(alias, safe='')}")

    def promote(
        self,
        model: str,
        version: str,
        reason: str,
        *,
        override: bool = False,
        etag: str | None = None,
    ) -> Json:
        """Make a version champion; with `etag` only if nobody was first (`PreconditionError`), else
        against its state now.
        """
        tag = etag or self.alias(model, "champion")[1]
        body: Json = {
            "version": version,
            "reason": reason,
            **({"override": True} if override else {}),
        }
        return self._json(
            "PUT", f"{_model(model)}/aliases/champion", json=body, headers={"If-Match": tag}
        )

    def rollback(
        self, model: str, reason: str, *, to: str | None = None, pause_learning: bool | None = None
    ) -> Json:
        """Serve an earlier version again: `to`, or the previous one."""
        body: Json = {"to": to, "reason": reason, "pause_learning": pause_learning}
        given = {key: value for key, value in body.items() if value is not None}
        return self._json("POST", f"{_model(model)}/rollback", json=given)

    # rules

    def policy(self, model: str) -> tuple[Json, str]:
        """The policy and its ETag."""
        return self._tagged(f"{_model(model)}/policy")

    def set_policy(self, model: str, policy: Mapping[str, Any], etag: str) -> Json:
        return self._json(
            "PUT", f"{_model(model)}/policy", json=dict(policy), headers={"If-Match": etag}
        )

    def gates(self, model: str) -> tuple[Json, str]:
        """The gates' limits and their ETag."""
        return self._tagged(f"{_model(model)}/gates")

    def set_gates(self, model: str, gates: Mapping[str, Any], etag: str) -> Json:
        return self._json(
            "PUT", f"{_model(model)}/gates", json=dict(gates), headers={"If-Match": etag}
        )

    def drift(self, model: str) -> Json:
        return self._json("GET", f"{_model(model)}/drift")

    def calibration(self, model: str) -> Json:
        return self._json("GET", f"{_model(model)}/calibration")

    # keys and audit

    def keys(self) -> list[Json]:
        return list(self._items("/api/v1/keys"))

    def create_key(self, name: str, scopes: Sequence[str]) -> Json:
        """A new key; its secret is in `key`, this once."""
        return self._json("POST", "/api/v1/keys", json={"name": name, "scopes": list(scopes)})

    def revoke_key(self, key: str) -> None:
        self._request("DELETE", f"/api/v1/keys/{quote(key, safe='')}")

    def audit(self) -> list[Json]:
        return list(self._items("/api/v1/audit"))

    def verify_audit(self, *, expect: str | None = None) -> Json:
        """Whether the audit log is whole: `intact`, `entries`, `head`, `broken`, `seen` (an entry
        has the hash `expect`).
        """
        return self._json(
            "GET", "/api/v1/audit/verify", params={"expect": expect} if expect else {}
        )

    # the wire

    def _items(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[Json]:
        query = dict(params or {})
        while True:
            page = self._json("GET", path, params=query)
            yield from page["items"]
            if not page.get("next_page_token"):
                return
            query["page_token"] = page["next_page_token"]

    def _tagged(self, path: str) -> tuple[Json, str]:
        reply = self._request("GET", path)
        return reply.json(), reply.headers.get("ETag", "")

    def _json(self, method: str, path: str, **options: Any) -> Json:
        reply = self._request(method, path, **options)
        try:
            body: Json = reply.json()
        except ValueError:
            raise UnreachableError(
                f"{self.url} answered {path} with something else than JSON: is it acclimate?"
            ) from None
        return body

    def _request(
        self, method: str, path: str, *, harmless: bool | None = None, **options: Any
    ) -> httpx.Response:
        patient_until = time.monotonic() + self.patience
        busy = 0
        while True:
            try:
                reply = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                repeatable = isinstance(error, httpx.ConnectError) or (
                    method == "GET" if harmless is None else harmless
                )
                if not repeatable or time.monotonic() >= patient_until:
                    raise UnreachableError(replies.unreachable(self.url, error)) from error
                time.sleep(0.25)
                continue
            if reply.status_code in (429, 503) and busy < BUSY_RETRIES:
                busy += 1
                time.sleep(replies.pause(reply))
                continue
            if reply.status_code == 503:
                raise UnreachableError(
                    f"{self.url} is not ready: {problem(503, replies.body(reply))}"
                )
            if reply.status_code >= 400:
                raise problem(
                    reply.status_code, replies.body(reply), location=reply.headers.get("Location")
                )
            return reply


def _model(model: str) -> str:
    return f"/api/v1/models/{quote(model, safe='')}"


def _run(run: str) -> str:
    return f"/api/v1/runs/{quote(run, safe='')}"


def _entry(document: Mapping[str, Any], table: str, key: str) -> str | None:
    found = document.get(table)
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else None
