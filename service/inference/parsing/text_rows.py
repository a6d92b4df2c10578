"""Rows of text from parsed JSON: one string per row, unchanged. The JSON parser refuses what is not
UTF-8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from acclimate.learning.data import Rows
from service.errors import bad_request

MOST_BYTES = 64 * 2**10
"""The longest string: a row is a message or a document, not a file."""


def texts(rows: list[Any], pointer: str) -> Rows:
    """The strings, each plain or alone in a list, as (N, 1) objects.

    Empty strings and NUL characters are allowed. Raises the 400 refusal with the first wrong row.
    """
    x = np.empty((len(rows), 1), dtype=object)
    for index, row in enumerate(rows):
        text = row[0] if isinstance(row, list) and len(row) == 1 else row
        if not isinstance(text, str):
            raise bad_request(f"{pointer}/{index}", "must be a string, or a list of one string")
        # A character has at most four bytes, so most strings need no encoding for this check.
        if 4 * len(text) > MOST_BYTES and (size := len(text.encode())) > MOST_BYTES:
            raise bad_request(
                f"{pointer}/{index}",
                f"has {size} bytes, at most {MOST_BYTES}: cut it, or send it as several rows",
            )
        x[index, 0] = text
    return x
