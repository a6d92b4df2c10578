"""What a stream is: a labeled seed set, and windows of traffic whose labels only score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Integers, Rows
from acclimate.learning.spec import InputSpec, NetworkSpec
from acclimate.settings import client_settings

Family = Literal[
    "gradual", "real", "still", "axis", "prior", "event", "fresh", "unseen", "played", "held"
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """The rows of one window, x (N, *shape), and their classes y (N,), `NONE_OF_THE_CLASSES` where
    a row has none of them.

    Windows of one `group` are averaged by row before groups are averaged; by itself each window is
    its own. A window that is not `learnt` is asked and scored only.
    """

    x: Rows
    y: Integers
    group: str = ""
    learnt: bool = True

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """Seed rows with labels, and the windows in order; a function of (name, seed)."""

    input: InputSpec
    network: NetworkSpec
    seed_x: Rows
    seed_y: Integers
    windows: tuple[Shown, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Definition:
    """A stream by name, and what is known of it before anything is run."""

    name: str
    family: Family
    about: str
    build: Callable[[int], Stream]
    file: str | None = None
    """The stream file it reads from `ACCLIMATE_STREAMS`; absent means skipped by name."""
    gap: bool = False
    """Whether the same student with true labels is expected to be clearly better than the frozen
    version.
    """
    turned: bool = False
    """Rotation makes it drift: it is printed a second time without rotation in the augmentation."""
    jump_at: int | None = None
    """The number of the window, from 1, in which the traffic jumps."""
    marked: tuple[int, ...] = field(default=())
    """Numbers of the windows in which something happens that no gradual drift is."""

    @property
    def absent(self) -> Path | None:
        """The file that is missing, if one is."""
        if self.file is None:
            return None
        path = source(self.file)
        return None if path.is_file() else path


def source(name: str) -> Path:
    """Where the stream file of this name is, or would be."""
    return client_settings().streams / f"{name}.npz"


def read(name: str) -> dict[str, NDArray[Any]]:
    """The arrays of a stream file."""
    with np.load(source(name), allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files if key != "meta"}


def vectors(size: int, classes: int) -> InputSpec:
    return InputSpec(kind="vector", shape=(size,), classes=names(classes))


def images(shape: tuple[int, ...], classes: int) -> InputSpec:
    return InputSpec(kind="image", shape=shape, classes=names(classes))


def names(classes: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(classes))


def shown(x: NDArray[Any], y: NDArray[Any], group: str = "", *, learnt: bool = True) -> Shown:
    """A window of rows in the type in which the product hands rows on."""
    rows = x if x.dtype == object else np.ascontiguousarray(x, dtype=np.float32)
    return Shown(x=rows, y=np.asarray(y, dtype=np.int64), group=group, learnt=learnt)
