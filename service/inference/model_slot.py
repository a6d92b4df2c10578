"""The versions that this process serves: one immutable `Served` per model, swapped by assigning one
reference.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from acclimate.learning.models import bundle as bundles
from acclimate.learning.models import bundle_format
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.spec import ModelSpec
from acclimate.storage.registry.artifacts import Artifacts
from service.errors import Refusal
from service.inference.running_state import RunningState

HELD_BUNDLES = 4
"""How many versions besides the champions stay in memory: those served or requested last."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A registered model, with its newest policy in `spec`; `served` is None until a version is
    loaded. `alarm` is the kind of the drift for which its newest closed window is quarantined.
    """

    id: str
    name: str
    spec: ModelSpec
    alarm: str | None = None
    served: Served | None = None


@dataclass(frozen=True, kw_only=True)
class Served:
    """One loaded version. A request reads it once and uses nothing else.

    `running` is the champion's running state; None in plain mode, and for versions requested by
    number.
    """

    model_id: str
    version: int
    digest: str
    bundle: Bundle = field(repr=False)
    epoch: int = 0
    running: RunningState | None = field(default=None, repr=False)


class ModelSlots:
    """The models by name, and recently used versions by number. Readers need no lock."""

    def __init__(self, artifacts: Artifacts, allowlist: tuple[str, ...]) -> None:
        self._artifacts = artifacts
        self._allowlist = allowlist
        self.models: dict[str, Model] = {}
        self._held: OrderedDict[tuple[str, int], Served] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def set_models(self, models: Iterable[Model]) -> list[Model]:
        """Replace the set of models; a model that stays keeps its served version.

        Returns the models that are gone.
        """
        with self._lock:
            known = {model.id: model for model in self.models.values()}
            self.models = {
                model.name: _still_serving(model, known.pop(model.id, None)) for model in models
            }
            for key in [key for key in self._held if key[0] in known]:
                del self._held[key]
        return list(known.values())

    def swap(self, served: Served) -> None:
        """Serve this version from the next request on; running requests keep theirs.

        The previous version stays in memory for a rollback.
        """
        with self._lock:
            for model in self.models.values():
                if model.id == served.model_id and model.served is not None:
                    self._hold(model.served)
            swapped = (
                replace(model, served=served) if model.id == served.model_id else model
                for model in self.models.values()
            )
            self.models = {model.name: model for model in swapped}

    def model(self, name: str) -> Model:
        """The model of this name. Raises the 404 refusal."""
        found = self.models.get(name)
        if found is None:
            raise Refusal("not-found", f"there is no model {name!r}")
        return found

    def champion(self, name: str) -> Served:
        """The served version of the model. Raises the 404 refusal, and 503 before version 1."""
        served = self.model(name).served
        if served is None:
            raise Refusal(
                "unavailable", f"model {name!r} has no version yet", headers={"Retry-After": "2"}
            )
        return served

    def held(self, model_id: str, version: int) -> Served | None:
        """The version if it is in memory, else None."""
        with self._lock:
            for model in self.models.values():
                if (
                    model.id == model_id
                    and model.served is not None
                    and model.served.version == version
                ):
                    return model.served
            if (model_id, version) in self._held:
                self._held.move_to_end((model_id, version))
            return self._held.get((model_id, version))

    def versions(self, model_id: str) -> set[int]:
        """The numbers of the versions in memory."""
        with self._lock:
            served = {
                model.served.version
                for model in self.models.values()
                if model.id == model_id and model.served
            }
            return served | {version for id, version in self._held if id == model_id}

    def load(self, model_id: str, version: int, digest: str) -> Served:
        """Load a version, verify it and warm it up.

        Raises `ArtifactError`, `BundleError`, `StoreError`.
        """
        manifest, arrays = self._artifacts.read(digest)
        bundle = bundle_format.build(manifest, arrays, allowlist=self._allowlist)
        bundles.self_test(bundle)
        bundles.warm_up(bundle)
        return Served(model_id=model_id, version=version, digest=digest, bundle=bundle)

    def get_or_load(self, model_id: str, version: int, digest: str) -> Served:
        """The version by number, loaded when it is not in memory.

        One version is loaded at a time, which bounds the memory. Raises as `load` does.
        """
        served = self.held(model_id, version)
        if served is not None:
            return served
        with self._loading:
            served = self.held(model_id, version)
            if served is None:
                served = self.load(model_id, version, digest)
                with self._lock:
                    self._hold(served)
        return served

    def _hold(self, served: Served) -> None:
        key = (served.model_id, served.version)
        self._held[key] = served
        self._held.move_to_end(key)
        while len(self._held) > HELD_BUNDLES:
            self._held.popitem(last=False)


def _still_serving(model: Model, known: Model | None) -> Model:
    return model if known is None else replace(model, served=known.served)
