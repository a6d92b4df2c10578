"""Converts rows of the database to documents of the API: snake_case names, ids and versions as
strings, times as RFC 3339 UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from numpy.typing import NDArray

Row = Mapping[Any, Any]
Document = dict[str, Any]


def time(seconds: float | None) -> str | None:
    """Unix seconds as RFC 3339 UTC with milliseconds."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def text(number: int | None) -> str | None:
    """The number as a string."""
    return None if number is None else str(number)


def number(text: str, *, digits: int = 9) -> int | None:
    """The whole number in an id, a page token or an ETag; None where the text is not one."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= digits else None


def items(documents: Iterable[Document], next_page_token: str | None = None) -> Document:
    """The document of one page of a list."""
    return {"items": list(documents), "next_page_token": next_page_token}


def window_id(number: int) -> str:
    """The id of a window, such as "w-4"."""
    return f"w-{number}"


def input(x: NDArray[Any]) -> Any:
    """One row (*shape) for JSON: the array, or the string of a text."""
    return x.reshape(-1)[0] if x.dtype == object else x


def run(row: Row) -> Document:
    """The document of a run."""
    numbers = row["windows"]
    window = None
    if numbers:
        window = {
            "id": window_id(numbers[-1]),
            "rows": row["rows"] or 0,
            "rows_pseudo_labelled": row["rows_pseudo_labelled"] or 0,
            "rows_refused": sum((row["refused"] or {}).values()),
            "refused": row["refused"] or {},
            "rows_labelled": row["rows_labelled"] or 0,
            "rows_taught": row["rows_taught"] or 0,
        }
    return {
        "id": row["id"],
        "model": row["model"],
        "state": row["state"],
        "stage": row["stage"],
        "trigger": row["trigger"],
        "reason": row["reason"],
        "recipe": row["recipe"],
        "parent_version": text(row["parent_version"]),
        "version": text(row["version"]),
        "promoted": row["promoted"],
        "evidence": row["evidence"],
        "window": window,
        "windows": [window_id(number) for number in numbers],
        "drift": row["drift"],
        "serving": serving(row["serving"]),
        "gates": row["gates"] or [],
        "detail": row["detail"],
        "progress": row["progress"],
        "attempt": row["attempt"],
        "heartbeat_at": time(row["heartbeat_at"]),
        "created_at": time(row["created_at"]),
        "started_at": time(row["started_at"]),
        "ended_at": time(row["ended_at"]),
        "served_at": time(row["served_at"]),
        "data_digest": row["data_digest"],
        "config_digest": row["config_digest"],
    }


def window(row: Row, *, open_rows: int, run_ids: list[str]) -> Document:
    """The document of a window; `open_rows` is the row count of the open one."""
    return {
        "id": window_id(row["number"]),
        "state": row["state"],
        "rows": open_rows if row["state"] == "open" else row["rows"],
        "rows_pseudo_labelled": row["rows_pseudo_labelled"],
        "rows_refused": row["rows_refused"],
        "rows_labelled": row["rows_labelled"],
        "closed_by": row["closed_by"],
        "closed_at": time(row["closed_at"]),
        "runs": run_ids,
        "drift": row["drift"],
        "estimate": estimate(row["estimate"]),
        "second_opinion": second_opinion(row["estimate"]),
        "digest": row["digest"],
    }


def version(
    row: Row,
    promotions: Iterable[Row],
    aliases: Mapping[str, int | None],
    windows: Iterable[int],
    *,
    saw_erased: bool,
) -> Document:
    """The document of a version.

    Args:
        promotions: every promotion of the model.
        aliases: the version number of each alias.
        windows: the numbers of the windows that its run learnt from.
        saw_erased: whether it learnt from a row that was erased later.
    """
    return {
        "version": str(row["number"]),
        "state": "deleted" if row["deleted_at"] is not None else row["state"],
        "aliases": sorted(name for name, number in aliases.items() if number == row["number"]),
        "parent": text(row["parent"]),
        "run": row["run_id"],
        "windows": [window_id(number) for number in windows],
        "saw_erased_rows": saw_erased,
        "mode": row["mode"],
        "lineage": row["lineage"],
        "rehearsal": row["rehearsal"],
        "evidence": row["evidence"],
        "gates": row["gates"],
        "promotions": [
            promotion(entry) for entry in promotions if entry["to_version"] == row["number"]
        ],
        "digest": row["digest"],
        "created_at": time(row["created_at"]),
        "deleted_at": time(row["deleted_at"]),
    }


def promotion(row: Row) -> Document:
    """The document of a promotion."""
    return {
        "epoch": row["epoch"],
        "kind": row["kind"],
        "from": text(row["from_version"]),
        "to": str(row["to_version"]),
        "run": row["run_id"],
        "evidence": row["evidence"],
        "actor": row["actor"],
        "reason": row["reason"],
        "at": time(row["at"]),
        "served_at": time(row["served_at"]),
        "watch": watch(row["watch"]),
        "comparison": serving(row["comparison"]),
    }


def serving(found: Mapping[str, Any] | None) -> Document | None:
    """What a run or a switch kept of who serves; `compared` and `proved` are versions,
    `held_until` a time.
    """
    if found is None:
        return None
    versions = {name: text(found[name]) for name in ("compared", "proved") if name in found}
    times = {name: time(found[name]) for name in ("held_until",) if name in found}
    return {**found, **versions, **times}


def estimate(found: Mapping[str, Any] | None) -> Document | None:
    """The accuracy estimate without its inputs."""
    names = ("value", "lower", "upper", "estimator", "refused")
    return None if found is None else {name: found[name] for name in names}


def second_opinion(found: Mapping[str, Any] | None) -> Document | None:
    """The estimate of another estimator for the same window, where there is one."""
    return next(iter((found or {}).get("others", [])), None)


def watch(found: Mapping[str, Any] | None) -> Document | None:
    """The document of the watch after a promotion."""
    if found is None:
        return None
    # A watch of an older release has no window.
    since = {"window": window_id(found["window"])} if "window" in found else {}
    return {**found, **since, "at": time(found["at"])}


def key(row: Row) -> Document:
    """The document of a key, without its secret."""
    return {
        "id": row["id"],
        "name": row["name"],
        "scopes": row["scopes"],
        "created_at": time(row["created_at"]),
        "revoked_at": time(row["revoked_at"]),
    }


def audit_entry(row: Row) -> Document:
    """The document of an entry of the audit log."""
    names = ("sequence", "actor", "action", "target", "content", "previous_hash", "hash")
    return {**{name: row[name] for name in names}, "at": time(row["at"])}
