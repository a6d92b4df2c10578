"""Rows of the log as numpy columns and as Arrow record batches. N rows, C classes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from acclimate.learning.data import Floats

FORMAT = "acclimate journal 1"
FORMAT_WITH_STATES = "acclimate journal 2"
NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
STATE_COLUMNS = {"state": pa.string(), "raw": pa.list_(pa.float32()), "state_content": pa.binary()}
"""Columns of running state; a state's content stands in the first row of each batch."""
NULLABLE = frozenset(("subject", *STATE_COLUMNS))


class UnknownFormat(ValueError):
    """The file's schema is not that of a journal this version can read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RequestRows:
    """The rows of one request, all answered by one version and in one running state, if in any.

    x (N, *shape); probabilities, raw (N, C); the other fields as in `LoggedRows`.
    """

    prediction_id: str
    version: str
    logged_at: float
    client: str
    subject: str | None = None
    x: NDArray[Any]
    probabilities: Floats
    state: str | None = None
    raw: Floats | None = None
    states: Mapping[str, bytes] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LoggedRows:
    """Logged rows, one entry a row in each column; arrays are never written to.

    prediction_id, version, client (N,) str; subject (N,) str or None; row (N,) int32 is the row's
    index in its reply; logged_at (N,) float64 unix seconds; x (N, *shape) float32, int64 for
    sequences, str objects for text; probabilities (N, C) float32 are the answers that were served.

    With running state: state (N,) is the id of the state behind each answer or None; raw (N, C) is
    what the networks answered before the state was applied, NaN where both are equal. `states` has
    the content of those states by id, except a version's own starting state.
    """

    prediction_id: Sequence[str]
    row: NDArray[np.int32]
    version: Sequence[str]
    logged_at: NDArray[np.float64]
    client: Sequence[str]
    subject: Sequence[str | None]
    x: NDArray[Any]
    probabilities: Floats
    state: Sequence[str | None] | None = None
    raw: Floats | None = None
    states: Mapping[str, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prediction_id)

    @staticmethod
    def of_request(request: RequestRows) -> LoggedRows:
        """The rows of one request, numbered from 0."""
        n = len(request.x)
        return LoggedRows(
            prediction_id=[request.prediction_id] * n,
            row=np.arange(n, dtype=np.int32),
            version=[request.version] * n,
            logged_at=np.full(n, request.logged_at),
            client=[request.client] * n,
            subject=[request.subject] * n,
            x=request.x,
            probabilities=request.probabilities,
            state=None if request.state is None else [request.state] * n,
            raw=request.raw,
            states=request.states or {},
        )

    @staticmethod
    def concatenate(parts: Sequence[LoggedRows]) -> LoggedRows:
        """The rows of all parts, in order. At least one part."""
        if len(parts) == 1:
            return parts[0]
        return LoggedRows(
            prediction_id=[value for part in parts for value in part.prediction_id],
            row=np.concatenate([part.row for part in parts]),
            version=[value for part in parts for value in part.version],
            logged_at=np.concatenate([part.logged_at for part in parts]),
            client=[value for part in parts for value in part.client],
            subject=[value for part in parts for value in part.subject],
            x=np.concatenate([part.x for part in parts]),
            probabilities=np.concatenate([part.probabilities for part in parts]),
            **_states_of(parts),
        )

    def take(self, positions: NDArray[np.integer[Any]]) -> LoggedRows:
        """The rows at these positions, in this order."""
        chosen = positions.tolist()
        return LoggedRows(
            prediction_id=[self.prediction_id[i] for i in chosen],
            row=self.row[positions],
            version=[self.version[i] for i in chosen],
            logged_at=self.logged_at[positions],
            client=[self.client[i] for i in chosen],
            subject=[self.subject[i] for i in chosen],
            x=self.x[positions],
            probabilities=self.probabilities[positions],
            state=None if self.state is None else [self.state[i] for i in chosen],
            raw=None if self.raw is None else self.raw[positions],
            states=self.states,
        )


@dataclass(frozen=True, kw_only=True)
class JournalSchema:
    """The columns of one model's rows, and the replica that writes them.

    With `states`, there are three more columns for the running state behind answers.
    """

    kind: Literal["vector", "image", "text", "sequence"]
    shape: tuple[int, ...]
    classes: int
    model: str
    replica: str
    states: bool = False

    def __post_init__(self) -> None:
        for name in (self.model, self.replica):
            if not NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} cannot name a model or a replica: use 1 to 128 of A-Z a-z 0-9 . _ -"
                )
        if self.kind not in ("vector", "image", "text", "sequence"):
            raise ValueError(f"unknown kind {self.kind!r}")
        if not self.shape or min(self.shape) < 1 or self.classes < 1:
            raise ValueError(
                f"shape {self.shape} and {self.classes} classes: every axis must hold something"
            )
        if self.kind == "text" and self.shape != (1,):
            raise ValueError(f"shape {self.shape}: a row of text is one string, its shape is (1,)")

    @cached_property
    def arrow(self) -> pa.Schema:
        """The columns, with shape, kind, model and replica in the metadata."""
        size = math.prod(self.shape)
        inputs = {"text": pa.string(), "sequence": pa.list_(pa.int64(), size)}.get(
            self.kind, pa.list_(pa.float32(), size)
        )
        columns = {
            "prediction_id": pa.string(),
            "row": pa.int32(),
            "version": pa.string(),
            "logged_at": pa.float64(),
            "client": pa.string(),
            "subject": pa.string(),
            "input": inputs,
            "probabilities": pa.list_(pa.float32(), self.classes),
        }
        if self.states:
            columns |= STATE_COLUMNS
        return pa.schema(
            [pa.field(name, kind, nullable=name in NULLABLE) for name, kind in columns.items()],
            metadata={
                "format": FORMAT_WITH_STATES if self.states else FORMAT,
                "model": self.model,
                "replica": self.replica,
                "kind": self.kind,
                "shape": ",".join(map(str, self.shape)),
            },
        )

    @staticmethod
    def of_arrow(schema: pa.Schema) -> JournalSchema:
        """The inverse of `arrow`. Raises `UnknownFormat`."""
        try:
            metadata = {
                key.decode(): value.decode() for key, value in (schema.metadata or {}).items()
            }
            if metadata["format"] not in (FORMAT, FORMAT_WITH_STATES):
                known = f"{FORMAT!r} and {FORMAT_WITH_STATES!r}"
                raise UnknownFormat(f"the format is {metadata['format']!r}, this reads {known}")
            found = JournalSchema(
                kind=metadata["kind"],
                shape=tuple(int(side) for side in metadata["shape"].split(",")),
                classes=schema.field("probabilities").type.list_size,
                model=metadata["model"],
                replica=metadata["replica"],
                states=metadata["format"] == FORMAT_WITH_STATES,
            )
        except (KeyError, AttributeError, ValueError) as error:
            raise UnknownFormat(f"not the schema of a journal: {error}") from error
        if not schema.equals(found.arrow):
            raise UnknownFormat(f"the columns are not those of {metadata['format']!r}")
        return found

    def batch(self, rows: LoggedRows) -> pa.RecordBatch:
        """The rows as one record batch. Raises ValueError naming the column that does not fit."""
        n = len(rows)
        if rows.x.shape != (n, *self.shape):
            raise ValueError(
                f"x has shape {rows.x.shape}, the journal of {self.model} keeps {(n, *self.shape)}"
            )
        if rows.probabilities.shape != (n, self.classes):
            raise ValueError(
                f"probabilities have shape {rows.probabilities.shape}, not {(n, self.classes)}"
            )
        arrays = [
            _strings("prediction_id", rows.prediction_id),
            pa.array(np.ascontiguousarray(rows.row, dtype=np.int32)),
            _strings("version", rows.version),
            pa.array(np.ascontiguousarray(rows.logged_at, dtype=np.float64)),
            _strings("client", rows.client),
            _strings("subject", rows.subject),
            self._inputs(rows.x),
            _lists(rows.probabilities, np.float32, self.classes),
        ]
        if self.states:
            arrays += _state_arrays(rows, self.classes)
        elif rows.state is not None:
            raise ValueError(f"rows have running state, the journal of {self.model} keeps none")
        for column, array in zip(self.arrow, arrays, strict=True):
            if len(array) != n or (array.null_count and not column.nullable):
                raise ValueError(
                    f"{column.name} has {len(array)} values, {array.null_count} of them "
                    f"missing, for {n} rows"
                )
        return pa.RecordBatch.from_arrays(arrays, schema=self.arrow)

    def rows(self, batches: Sequence[pa.RecordBatch]) -> LoggedRows:
        """The rows of all batches, in order: the inverse of `batch`. Numbers are copies."""
        table = pa.Table.from_batches(batches, schema=self.arrow)
        n = table.num_rows
        x = self._texts(table) if self.kind == "text" else _numbers(table, "input")
        states = _states_in(table, self.classes) if self.states else {}
        return LoggedRows(
            prediction_id=table.column("prediction_id").to_pylist(),
            row=_numbers(table, "row"),
            version=table.column("version").to_pylist(),
            logged_at=_numbers(table, "logged_at"),
            client=table.column("client").to_pylist(),
            subject=table.column("subject").to_pylist(),
            x=x.reshape(n, *self.shape),
            probabilities=_numbers(table, "probabilities").reshape(n, self.classes),
            **states,
        )

    def _texts(self, table: pa.Table) -> NDArray[Any]:
        return np.array(table.column("input").to_pylist(), dtype=object)

    def _inputs(self, x: NDArray[Any]) -> pa.Array:
        if self.kind == "text":
            return _strings("x", x.reshape(-1).tolist())
        return _lists(x, np.int64 if self.kind == "sequence" else np.float32, math.prod(self.shape))


def _strings(column: str, values: Sequence[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except (UnicodeEncodeError, pa.ArrowException, TypeError) as error:
        # The value itself is not repeated: it may be personal data.
        raise ValueError(
            f"{column} holds what is not text in UTF-8 ({type(error).__name__})"
        ) from None


def _lists(values: NDArray[Any], kind: type, size: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(values, dtype=kind).reshape(-1)), size
    )


def _numbers(table: pa.Table, name: str) -> NDArray[Any]:
    column = table.column(name)
    lists = pa.types.is_fixed_size_list(column.type)
    chunks = [(chunk.flatten() if lists else chunk).to_numpy() for chunk in column.chunks]
    kind = column.type.value_type if lists else column.type
    return np.concatenate(chunks) if chunks else np.empty(0, kind.to_pandas_dtype())


def _states_of(parts: Sequence[LoggedRows]) -> dict[str, Any]:
    """The columns of running state of all parts together."""
    if all(part.state is None for part in parts):
        return {}
    blank = [np.full(part.probabilities.shape, np.nan, dtype=np.float32) for part in parts]
    return {
        "state": [id for part in parts for id in (part.state or [None] * len(part))],
        "raw": None
        if all(part.raw is None for part in parts)
        else np.concatenate(
            [
                none if part.raw is None else part.raw
                for part, none in zip(parts, blank, strict=True)
            ]
        ),
        "states": {id: content for part in parts for id, content in part.states.items()},
    }


def _state_arrays(rows: LoggedRows, classes: int) -> list[pa.Array]:
    """The columns of `STATE_COLUMNS`. Raises ValueError."""
    n = len(rows)
    if rows.state is None:
        return [pa.nulls(n, kind) for kind in STATE_COLUMNS.values()]
    first = {id: position for position, id in reversed(list(enumerate(rows.state)))}
    contents: list[bytes | None] = [None] * n
    for id, content in rows.states.items():
        if id in first:
            contents[first[id]] = content
    return [
        _strings("state", rows.state),
        _raw(rows.raw, n, classes),
        pa.array(contents, pa.binary()),
    ]


def _raw(raw: Floats | None, n: int, classes: int) -> pa.Array:
    if raw is None:
        return pa.nulls(n, STATE_COLUMNS["raw"])
    if raw.shape != (n, classes):
        raise ValueError(f"raw has shape {raw.shape}, not {(n, classes)}")
    blank = np.isnan(raw).all(axis=1)
    ends = np.concatenate([[0], np.cumsum(np.where(blank, 0, classes))]).astype(np.int32)
    values = pa.array(np.ascontiguousarray(raw[~blank], dtype=np.float32).reshape(-1))
    return pa.ListArray.from_arrays(pa.array(ends), values, mask=pa.array(blank))


def _states_in(table: pa.Table, classes: int) -> dict[str, Any]:
    """The inverse of `_state_arrays`."""
    states, raw, contents = (table.column(name) for name in STATE_COLUMNS)
    if states.null_count == len(states):
        return {}
    found = np.full((len(states), classes), np.nan, dtype=np.float32)
    if raw.null_count < len(raw):
        found[raw.is_valid().to_numpy()] = (
            raw.combine_chunks().flatten().to_numpy().reshape(-1, classes)
        )
    known = table.filter(contents.is_valid()).select(["state", "state_content"]).to_pydict()
    return {
        "state": states.to_pylist(),
        "raw": found if raw.null_count < len(raw) else None,
        "states": dict(zip(known["state"], known["state_content"], strict=True)),
    }
