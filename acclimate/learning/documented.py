"""Fields of a dataclass that say their unit, what they protect and where the number comes from."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any

from acclimate.learning.data import Json


def limit(value: float, *, unit: str, protects: str, source: str) -> Any:
    """A documented field with this default."""
    return field(default=value, metadata={"unit": unit, "protects": protects, "source": source})


def describe(values: Any) -> list[Json]:
    """Each documented field of the dataclass `values` as JSON: name, value, unit, protects, source.

    For API and reference; fields without documentation are left out.
    """
    return [
        {"name": each.name, "value": getattr(values, each.name), **each.metadata}
        for each in fields(values)
        if each.metadata
    ]
