"""Text and sequences as token ids in the order of the row: what the networks of text read."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

import numpy as np

from acclimate.learning.data import Floats, Integers, Rows
from acclimate.learning.spec import InputSpec, NetworkSpec

BUCKETS = 4096
LENGTH = 128
"""Tokens of a text that are read; longer ones are read to here."""
COMPARED_BUCKETS = 256
WORD = re.compile(r"\w+|[^\w\s]")
MOST_CHARACTERS = 16_384
"""Of one text, from its start; `LENGTH` tokens are rarely longer, and one token may be as long as a
text.
"""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Rows of text, or of token ids of the user's own, as int64 (N, length) in 0..buckets - 1, 0
    where there is none.

    A text is lower-cased and cut into words and punctuation; each is hashed (crc32) into 1..buckets
    - 1. An id of the user's stays as it is below `buckets` and is hashed into the same range above.
    Nothing is fitted.
    """

    kind: str
    buckets: int
    length: int

    @property
    def rescalable(self) -> bool:
        """Whether rows can be read in another scale: tokens have none."""
        return False

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    def apply(self, x: Rows) -> Integers:
        """The token ids (N, length) of raw rows, tokens at the front."""
        if self.kind == "sequence":
            ids = np.asarray(x, dtype=np.int64)
            return pushed_forward(np.where(ids < self.buckets, ids, 1 + ids % (self.buckets - 1)))
        out = np.zeros((len(x), self.length), dtype=np.int64)
        for row, (text,) in enumerate(x.tolist()):
            read = words(text)[: self.length]
            out[row, : len(read)] = [
                1 + zlib.crc32(word.encode()) % (self.buckets - 1) for word in read
            ]
        return out

    def features(self, x: Rows) -> Floats:
        """One vector of 256 numbers a row, in which rows can be compared: roots of hashed token
        counts, of length 1.
        """
        tokens = self.apply(x)
        out = np.zeros((len(tokens), COMPARED_BUCKETS), dtype=np.float32)
        rows, places = np.nonzero(tokens)
        np.add.at(out, (rows, tokens[rows, places] % COMPARED_BUCKETS), 1)
        out = np.sqrt(out)
        return np.asarray(
            out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12), dtype=np.float32
        )


def words(text: str) -> list[str]:
    """The words and punctuation of a text in lower case, as they are hashed."""
    return WORD.findall(text[:MOST_CHARACTERS].lower())


def of(input_spec: InputSpec, network_spec: NetworkSpec) -> Tokens:
    """How the spec says that its rows are read: `network_args` buckets (for sequences: vocabulary)
    and, for text, length.
    """
    args = network_spec.args
    if input_spec.kind == "sequence":
        return Tokens(
            kind="sequence",
            buckets=int(args.get("vocabulary", BUCKETS)),
            length=input_spec.shape[0],
        )
    return Tokens(
        kind="text",
        buckets=int(args.get("buckets", BUCKETS)),
        length=int(args.get("length", LENGTH)),
    )


def pushed_forward(tokens: Integers) -> Integers:
    """The same rows with their tokens in order at the front and the zeros behind them."""
    order = np.argsort(tokens == 0, axis=1, kind="stable")
    return np.take_along_axis(tokens, order, axis=1)
