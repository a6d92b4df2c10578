"""The result of a stage as a manifest (JSON) and named arrays, and back, bit for bit: another
attempt goes on from there.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Json, Part, Past, PseudoLabels, Snapshot
from acclimate.learning.models import network
from acclimate.learning.models.network import Bundle
from acclimate.learning.results import Drift, Effect, Gate, Verdict

Array = NDArray[Any]
StageResult = Snapshot | Drift | PseudoLabels | Bundle | Verdict


def pack(result: StageResult) -> tuple[Json, dict[str, Array]]:
    """The result taken apart; `unpack` makes an equal one. Raises `TypeError` on what is no result
    of a stage.
    """
    match result:
        case Bundle():
            manifest, arrays = network.pack(result)
            return {"result": "bundle", "bundle": manifest}, arrays
        case Snapshot():
            known = {
                "past": None if result.past is None else asdict(result.past),
                "vouched": result.vouched,
                "looks": result.looks,
                "number": result.number,
            }
            parts = {"taught": result.taught, "late": result.late}
            arrays = {
                f"{name}.{axis}": getattr(part, axis)
                for name, part in parts.items()
                if part
                for axis in "xy"
            }
            return {"result": "snapshot", **_text(known)}, {"labels": result.labels, **arrays}
        case PseudoLabels():
            reasons = sorted(set(result.refusal.tolist()))
            arrays = {"label": result.label, "confidence": result.confidence, "votes": result.votes}
            arrays["refusal"] = np.searchsorted(
                np.array(reasons, dtype=np.str_), result.refusal
            ).astype(np.int64)
            return {"result": "pseudo_labels", "reasons": reasons, "needed": result.needed}, arrays
        case Drift():
            return {"result": "drift", **_text(asdict(result))}, {}
        case Verdict():
            return {"result": "verdict", **_text(asdict(result))}, {}
    raise TypeError(f"{type(result).__name__} is no result of a stage")


def unpack(
    manifest: Json, arrays: dict[str, Array], *, allowlist: tuple[str, ...] = ()
) -> StageResult:
    """The result that `pack` took apart. Raises `network.BundleError` on a bundle that cannot be
    made.
    """
    match manifest["result"]:
        case "bundle":
            return network.build(manifest["bundle"], arrays, allowlist=allowlist)
        case "snapshot":
            parts: Json = {
                name: Part(x=arrays[f"{name}.x"], y=arrays[f"{name}.y"])
                for name in ("taught", "late")
                if f"{name}.x" in arrays
            }
            known = json.loads(manifest["text"])
            # A run that the first release began knows only the agreement.
            agreement, past = known.pop("past_agreement", None), known.pop("past", None)
            past = {"agreement": agreement} if agreement is not None else past
            return Snapshot(
                labels=arrays["labels"],
                past=None if past is None else Past(**past),
                **parts,
                **known,
            )
        case "pseudo_labels":
            refusal = np.array(manifest["reasons"], dtype=np.str_)[arrays["refusal"]]
            same = {name: arrays[name] for name in ("label", "confidence", "votes")}
            return PseudoLabels(**same, refusal=refusal, needed=manifest["needed"])
        case "drift":
            found = json.loads(manifest["text"])
            found["shares"] = tuple(found["shares"])
            return Drift(
                **{
                    **found,
                    "effects": {
                        name: Effect(**effect) for name, effect in found["effects"].items()
                    },
                }
            )
        case "verdict":
            found = json.loads(manifest["text"])
            return Verdict(**{**found, "gates": tuple(Gate(**gate) for gate in found["gates"])})
    raise TypeError(f"{manifest['result']!r} is no result of a stage")


def _text(value: Json) -> Json:
    """As text, since plain JSON knows no NaN and no infinity; Python's own writes a float so that
    reading gives the same one.
    """
    return {"text": json.dumps(value, default=lambda number: number.item())}
