"""The entries of a feedback request: read one by one, each refused with its own reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

MOST_AHEAD_SECONDS = 60.0
"""How far a label time may be in the future: clocks differ."""
REQUIRED = {"prediction_id", "row"}
SAYS = {"label", "right"}
NAMES = REQUIRED | SAYS | {"source", "label_time"}
RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
Address = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a source says of one logged row.

    `label` is a class index, or None for none of the classes. Where `right` is not None, the entry
    says whether the answer was right instead, and `label` says nothing. `label_time` is in unix
    seconds.
    """

    prediction_id: str
    row: int
    label: int | None
    right: bool | None
    source: str
    label_time: float | None

    @property
    def address(self) -> Address:
        return self.prediction_id, self.row


class BadEntry(ValueError):
    """The entry cannot be read; the message is the reason for the sender."""


def read(entry: Any, classes: tuple[str, ...], *, now: float) -> Entry | str:
    """The entry, or the reason why it is refused. `now` is in unix seconds."""
    try:
        return _read(entry, classes, now)
    except BadEntry as problem:
        return str(problem)


def _read(entry: Any, classes: tuple[str, ...], now: float) -> Entry:
    if not isinstance(entry, dict) or set(entry) - NAMES or not SAYS & set(entry):
        raise BadEntry(
            "must be an object with prediction_id, row, label or right, and optionally source and "
            "label_time"
        )
    if set(entry) >= SAYS:
        raise BadEntry(
            "has label and right: send label where you know the class, else right to say whether "
            "the answer was right"
        )
    id = entry.get("prediction_id")
    row = entry.get("row")
    if not isinstance(id, str) or not 1 <= len(id) <= 128 or not _is_row(row):
        raise BadEntry("prediction_id must be a string and row a whole number")
    source = "feedback" if entry.get("source") is None else entry["source"]
    if not isinstance(source, str) or not 1 <= len(source) <= 63 or not source.isprintable():
        raise BadEntry("source must be 1 to 63 printable characters")
    right = entry.get("right")
    if "right" in entry and not isinstance(right, bool):
        raise BadEntry("right must be true or false")
    return Entry(
        prediction_id=id,
        row=row,
        label=_label(entry.get("label"), classes),
        right=right,
        source=source,
        label_time=_time(entry.get("label_time"), now),
    )


def _is_row(row: Any) -> TypeGuard[int]:
    return type(row) is int and 0 <= row < 2**31


def _label(label: Any, classes: tuple[str, ...]) -> int | None:
    """The index of the class that is named, or None. Raises `BadEntry`."""
    if label is None:
        return None
    if isinstance(label, str):
        if label not in classes:
            raise BadEntry(f"the label is not one of the classes: {', '.join(classes[:20])}")
        return classes.index(label)
    if type(label) is int and 0 <= label < len(classes):
        return label
    raise BadEntry(
        f"the label must be a class name, null, or an index from 0 to {len(classes) - 1}"
    )


def _time(text: Any, now: float) -> float | None:
    """Unix seconds of an RFC 3339 time, None without one. Raises `BadEntry`."""
    if text is None:
        return None
    try:
        if not isinstance(text, str) or not RFC_3339.fullmatch(text):
            raise ValueError
        seconds = datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        raise BadEntry(
            "label_time must be an RFC 3339 time with an offset, such as 2026-11-30T15:31:55Z"
        ) from None
    if seconds > now + MOST_AHEAD_SECONDS:
        raise BadEntry("label_time is in the future")
    return seconds
