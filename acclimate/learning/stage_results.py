"""The result of a stage as a manifest (JSON) and named arrays, and back, bit for bit."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acclimate.learning.data import Json, Part, Past, PseudoLabels, Snapshot
from acclimate.learning.models import bundle_format
from acclimate.learning.models.bundle import Bundle
from acclimate.learning.results import (
    Comparison,
    Diagnosis,
    Drift,
    Effect,
    Gate,
    Screening,
    Verdict,
)

Array = NDArray[Any]
StageResult = Snapshot | Diagnosis | PseudoLabels | Bundle | Verdict
FORMAT = 3
"""One more when a stage keeps something else. What another release kept is done again."""


def pack(result: StageResult) -> tuple[Json, dict[str, Array]]:
    """The result taken apart; `unpack` makes an equal one. Raises `TypeError` on anything else."""
    match result:
        case Bundle():
            manifest, arrays = bundle_format.pack(result)
            return _kept("bundle", bundle=manifest), arrays
        case Snapshot():
            known = {
                "past": None if result.past is None else asdict(result.past),
                "released": result.released,
                "peeks": result.peeks,
                "number": result.number,
            }
            parts = {"taught": result.taught, "late": result.late}
            arrays = {
                f"{name}.{axis}": getattr(part, axis)
                for name, part in parts.items()
                if part is not None
                for axis in "xy"
            }
            return _kept("snapshot", text=_text(known)), {"labels": result.labels, **arrays}
        case PseudoLabels():
            reasons = sorted(set(result.refusal.tolist()))
            known_reasons = np.array(reasons, dtype=np.str_)
            arrays = {
                "label": result.label,
                "confidence": result.confidence,
                "votes": result.votes,
                "refusal": np.searchsorted(known_reasons, result.refusal).astype(np.int64),
            }
            return _kept("pseudo_labels", reasons=reasons, needed=result.needed), arrays
        case Diagnosis():
            screening = result.screening
            arrays = {name: getattr(screening, name) for name in SCREENED}
            compared = result.comparison
            text = {
                "drift": asdict(result.drift),
                "drifted": asdict(screening.drifted),
                "comparison": None if compared is None else asdict(compared),
            }
            return _kept("diagnosis", text=_text(text)), arrays
        case Verdict():
            return _kept("verdict", text=_text(asdict(result))), {}
    raise TypeError(f"{type(result).__name__} is no result of a stage")


def unpack(
    manifest: Json, arrays: dict[str, Array], *, allowlist: tuple[str, ...] = ()
) -> StageResult | None:
    """The result that `pack` took apart; None where another release kept it.

    Raises `networks.BundleError` on a bundle that cannot be made.
    """
    if manifest.get("stage_format") != FORMAT:
        return None
    match manifest["result"]:
        case "bundle":
            return bundle_format.build(manifest["bundle"], arrays, allowlist=allowlist)
        case "snapshot":
            known = json.loads(manifest["text"])
            past = known.pop("past")
            parts: Json = {
                name: Part(x=arrays[f"{name}.x"], y=arrays[f"{name}.y"])
                for name in ("taught", "late")
                if f"{name}.x" in arrays
            }
            known["past"] = None if past is None else Past(**past)
            return Snapshot(labels=arrays["labels"], **parts, **known)
        case "pseudo_labels":
            refusal = np.array(manifest["reasons"], dtype=np.str_)[arrays["refusal"]]
            kept = {name: arrays[name] for name in ("label", "confidence", "votes")}
            return PseudoLabels(**kept, refusal=refusal, needed=manifest["needed"])
        case "diagnosis":
            return _diagnosis(json.loads(manifest["text"]), arrays)
        case "verdict":
            found = json.loads(manifest["text"])
            gates = tuple(Gate(**gate) for gate in found["gates"])
            return Verdict(**{**found, "gates": gates})
    raise TypeError(f"{manifest['result']!r} is no result of a stage")


SCREENED = ("unsupported", "dense", "seed_dense")
EFFECTS = ("advantage", "divergence", "consistency")
"""What a comparison measures."""


def _diagnosis(found: Json, arrays: dict[str, Array]) -> Diagnosis:
    drift = found["drift"]
    drift["priors"] = tuple(drift["priors"])
    drift["effects"] = {name: Effect(**effect) for name, effect in drift["effects"].items()}
    flags = {name: arrays[name] for name in SCREENED}
    screening = Screening(drifted=Effect(**found["drifted"]), **flags)
    compared: Json | None = found["comparison"]
    if compared is not None:
        effects: Json = {name: Effect(**compared[name]) for name in EFFECTS}
        compared |= {**effects, "proof": tuple(compared["proof"])}
    comparison = None if compared is None else Comparison(**compared)
    return Diagnosis(screening=screening, drift=Drift(**drift), comparison=comparison)


def _kept(result: str, **content: Any) -> Json:
    return {"stage_format": FORMAT, "result": result, **content}


def _text(value: Json) -> str:
    """As text: plain JSON knows no NaN; Python's own writes floats so that they are read equal."""
    return json.dumps(value, default=lambda number: number.item())
