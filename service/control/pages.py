"""Pages of numbered rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

Row = TypeVar("Row", bound=Mapping[Any, Any])


class Page(NamedTuple):
    """The number after which the page begins, and the most rows that it holds."""

    after: int
    size: int


def cut(rows: Sequence[Row], name: str, page: Page) -> tuple[list[Row], str | None]:
    """The rows of one page, and the token of the next page, if any.

    Args:
        rows: all rows, ascending by the number under `name`.
    """
    rest = [row for row in rows if row[name] > page.after]
    token = str(rest[page.size - 1][name]) if len(rest) > page.size else None
    return rest[: page.size], token
