"""What this process answers with: one immutable `Served` per model, replaced by assigning one reference."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from acclimate.learning.network import Bundle
from acclimate.learning.values import ModelSpec
from service.errors import Refusal

HELD_BUNDLES = 4
"""Versions asked for by number that stay in memory, besides the champions."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A registered model as this replica knows it; `served` is None until its first version is loaded."""

    id: str
    name: str
    spec: ModelSpec
    served: Served | None = None


@dataclass(frozen=True, kw_only=True)
class Served:
    """One version, ready to answer. A request takes it once and uses nothing else."""

    model_id: str
    version: int
    digest: str
    bundle: Bundle = field(repr=False)
    epoch: int = 0


class ModelSlots:
    """The models by name, and recently asked versions by number. Readers take no lock: they read one reference."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self._asked: OrderedDict[tuple[str, int], Served] = OrderedDict()
        self._lock = threading.Lock()

    def know(self, models: Iterable[Model]) -> None:
        """These models and no others; one that was known keeps what it serves."""
        with self._lock:
            known = {model.id: model for model in self.models.values()}
            self.models = {model.name: known.get(model.id, model) for model in models}

    def swap(self, served: Served) -> None:
        """Answer with this version from the next request on; requests under way keep the one they took."""
        with self._lock:
            swapped = (
                replace(model, served=served) if model.id == served.model_id else model
                for model in self.models.values()
            )
            self.models = {model.name: model for model in swapped}

    def model(self, name: str) -> Model:
        """Raises the 404 refusal."""
        found = self.models.get(name)
        if found is None:
            raise Refusal("not-found", f"there is no model {name!r}")
        return found

    def champion(self, name: str) -> Served:
        """Raises the 404 refusal, and 503 before version 1."""
        served = self.model(name).served
        if served is None:
            raise Refusal("unavailable", f"model {name!r} has no version yet", headers={"Retry-After": "2"})
        return served

    def asked(self, model_id: str, version: int, load: Callable[[], Served]) -> Served:
        """The version by number, loaded when it is not held. `load` may take its time and runs outside the lock."""
        key = (model_id, version)
        with self._lock:
            if key in self._asked:
                self._asked.move_to_end(key)
                return self._asked[key]
        served = load()
        with self._lock:
            self._asked[key] = served
            while len(self._asked) > HELD_BUNDLES:
                self._asked.popitem(last=False)
        return served
