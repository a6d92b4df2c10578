"""Rows of text out of parsed JSON: one string a row, kept as it came. The parser has refused what
is not UTF-8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from acclimate.learning.data import Rows
from service.errors import bad_request

MOST_BYTES = 64 * 2**10
"""Longer strings are refused: a row is a message or a document, not a file."""


def texts(rows: list[Any], pointer: str) -> Rows:
    """The strings, each bare or alone in a list, as (N, 1) objects. Raises the 400 refusal that
    names the first wrong row.

    Any string of UTF-8 is a row, the empty one and one with NUL characters too.
    """
    x = np.empty((len(rows), 1), dtype=object)
    for index, row in enumerate(rows):
        text = row[0] if isinstance(row, list) and len(row) == 1 else row
        if not isinstance(text, str):
            raise bad_request(
                f"{pointer}/{index}", "must be a string, or a list of one string: a row is text"
            )
        # At most four bytes a character: most strings need no encoding to be short enough.
        if 4 * len(text) > MOST_BYTES and (size := len(text.encode())) > MOST_BYTES:
            raise bad_request(
                f"{pointer}/{index}",
                f"has {size} bytes, at most {MOST_BYTES}: cut it, or send it as several rows",
            )
        x[index, 0] = text
    return x
