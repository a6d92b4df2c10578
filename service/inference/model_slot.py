"""What this process answers with: one immutable `Served` per model, replaced by assigning one
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
"""Versions that were served or asked for by number lately and stay in memory, besides the
champions.
"""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A registered model as this replica knows it, `spec` with its newest policy; `served` is None
    until a version is loaded.
    """

    id: str
    name: str
    spec: ModelSpec
    served: Served | None = None


@dataclass(frozen=True, kw_only=True)
class Served:
    """One version, ready to answer. A request takes it once and uses nothing else.

    `running` is what the champion follows where its mode has something; None in plain mode, and for
    versions asked by name.
    """

    model_id: str
    version: int
    digest: str
    bundle: Bundle = field(repr=False)
    epoch: int = 0
    running: RunningState | None = field(default=None, repr=False)


class ModelSlots:
    """The models by name, and recently used versions by number. Readers take no lock: they read one
    reference.
    """

    def __init__(self, artifacts: Artifacts, allowlist: tuple[str, ...]) -> None:
        self._artifacts = artifacts
        self._allowlist = allowlist
        self.models: dict[str, Model] = {}
        self._held: OrderedDict[tuple[str, int], Served] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def know(self, models: Iterable[Model]) -> list[Model]:
        """These models and no others, as they are now; one that was known keeps what it serves.
        Returns those that are gone.
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
        """Answer with this version from the next request on; requests under way keep the one they
        took.

        The version before stays in memory for a while: it is the one that a rollback would want.
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
        """Raises the 404 refusal."""
        found = self.models.get(name)
        if found is None:
            raise Refusal("not-found", f"there is no model {name!r}")
        return found

    def champion(self, name: str) -> Served:
        """Raises the 404 refusal, and 503 before version 1."""
        served = self.model(name).served
        if served is None:
            raise Refusal(
                "unavailable", f"model {name!r} has no version yet", headers={"Retry-After": "2"}
            )
        return served

    def held(self, model_id: str, version: int) -> Served | None:
        """The version, if it is in memory."""
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
        """Numbers of the versions in memory."""
        with self._lock:
            served = {
                model.served.version
                for model in self.models.values()
                if model.id == model_id and model.served
            }
            return served | {version for id, version in self._held if id == model_id}

    def load(self, model_id: str, version: int, digest: str, *, epoch: int = 0) -> Served:
        """A version, verified and warmed up. Raises `ArtifactError`, `BundleError`,
        `StoreError`.
        """
        manifest, arrays = self._artifacts.read(digest)
        bundle = bundle_format.build(manifest, arrays, allowlist=self._allowlist)
        bundles.self_test(bundle)
        bundles.warm_up(bundle)
        return Served(model_id=model_id, version=version, digest=digest, bundle=bundle, epoch=epoch)

    def asked(self, model_id: str, version: int, digest: str) -> Served:
        """The version by number, loaded when it is not held: one at a time, so that many who ask
        need the memory of one.

        Raises what `load` does.
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
