"""Arrow IPC messages with their own length and crc32, found again in a damaged file.

A file is an ordinary Arrow stream: the schema message, one message for each record batch, the end
mark. The custom metadata of each message holds `check`: a crc32 of the whole message (its own eight
digits taken as zeros) and the message's length in bytes. No message is passed to Arrow before its
check held. The crc of a batch starts from the journal's id: neither a stale block of another file
nor bytes that a client sent inside a row pass for one.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

import pyarrow as pa

CONTINUATION = b"\xff\xff\xff\xff"
END = CONTINUATION + b"\x00\x00\x00\x00"
CHECK = re.compile(rb"crc32:([0-9a-f]{8});bytes:([0-9a-f]{16})")
BLANK = "crc32:00000000;bytes:0000000000000000"
MAX_METADATA_BYTES = 64 * 1024
"""Ours take about one KiB; the bound keeps the search for the next whole message short."""
ALIGNMENT = 8


@dataclass(frozen=True, kw_only=True)
class Span:
    """Bytes from `start` up to `end` of a file."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The parts of a file: header, whole frames, damage between them, and the tail."""

    schema: pa.Schema
    journal: str
    header: Span
    frames: tuple[Span, ...]
    damaged: tuple[Span, ...]
    tail: Span
    ended: bool
    """The tail is the end mark and nothing else."""

    @property
    def whole(self) -> bool:
        return self.ended and not self.damaged


def header(schema: pa.Schema, journal: str) -> bytes:
    """The schema message that begins the file of this journal."""
    message = _encode(
        schema.with_metadata({**schema.metadata, "journal": journal, "check": BLANK}), None
    )
    return _stamp(message, 0)


def frame(batch: pa.RecordBatch, journal: str) -> bytes:
    """The message of one record batch of this journal."""
    return _stamp(_encode(batch.schema, batch), _seed(journal))


def decode(contents: pa.Buffer, span: Span, schema: pa.Schema) -> pa.RecordBatch:
    """The record batch of a whole frame, without copying `contents`."""
    return pa.ipc.read_record_batch(contents.slice(span.start, span.end - span.start), schema)


def scan(contents: pa.Buffer) -> Layout | None:
    """The whole messages in `contents`; None when the header is damaged."""
    view = memoryview(contents).cast("B")  # Arrow says signed
    start = _whole(view, 0, 0)
    if start is None:
        return None
    schema = pa.ipc.read_schema(contents.slice(0, start))
    journal = schema.metadata.get(b"journal", b"").decode()
    seed = _seed(journal)
    frames: list[Span] = []
    damaged: list[Span] = []
    at = start
    while at < len(view):
        found = _next(view, at, seed)
        if found is None:
            break
        if found.start > at:
            damaged.append(Span(start=at, end=found.start))
        frames.append(found)
        at = found.end
    metadata = {
        key: value for key, value in schema.metadata.items() if key not in (b"journal", b"check")
    }
    return Layout(
        schema=schema.with_metadata(metadata),
        journal=journal,
        header=Span(start=0, end=start),
        frames=tuple(frames),
        damaged=tuple(damaged),
        tail=Span(start=at, end=len(view)),
        ended=bytes(view[at : at + len(END) + 1]) == END,
    )


def _encode(schema: pa.Schema, batch: pa.RecordBatch | None) -> bytearray:
    """The message of the schema, or of the batch alone, with a blank check."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        if batch is not None:
            writer.write_batch(batch, custom_metadata={"check": BLANK})
    data = memoryview(sink.getvalue())
    start = 0 if batch is None else 8 + int.from_bytes(data[4:8], "little")
    return bytearray(data[start : len(data) - len(END)])


def _stamp(message: bytearray, seed: int) -> bytes:
    """The message with its length and crc written into its check."""
    check = CHECK.search(message)
    assert check is not None, "every message is encoded with a check"
    position = check.start(1)
    length = slice(check.start(2), check.end(2))
    del check  # while it lives, the bytearray is locked
    message[length] = b"%016x" % len(message)
    message[position : position + 8] = b"%08x" % zlib.crc32(message, seed)
    return bytes(message)


def _seed(journal: str) -> int:
    return zlib.crc32(journal.encode())


def _whole(view: memoryview, at: int, seed: int) -> int | None:
    """The end of the message that begins at `at`; None where no whole message begins."""
    if bytes(view[at : at + 4]) != CONTINUATION:
        return None
    metadata = int.from_bytes(view[at + 4 : at + 8], "little")
    if not 0 < metadata <= MAX_METADATA_BYTES:
        return None
    check = CHECK.search(bytes(view[at : at + 8 + metadata]))
    if check is None:
        return None
    end = at + int(check[2], 16)
    if not at < end <= len(view):
        return None
    position = at + check.start(1)
    crc = zlib.crc32(view[at:position], seed)
    crc = zlib.crc32(b"00000000", crc)
    crc = zlib.crc32(view[position + 8 : end], crc)
    return end if crc == int(check[1], 16) else None


def _next(view: memoryview, at: int, seed: int) -> Span | None:
    """The first whole message at or after `at`."""
    end = _whole(view, at, seed)
    if end is not None:
        return Span(start=at, end=end)
    for start in range(at + ALIGNMENT, len(view), ALIGNMENT):
        if view[start] == 0xFF and (end := _whole(view, start, seed)) is not None:
            return Span(start=start, end=end)
    return None
