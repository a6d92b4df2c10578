"""Penultimate features: the inputs of each member's last linear layer, where classes separate."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from acclimate.learning.data import Floats, Rows
from acclimate.learning.models.bundle import Bundle

BATCH = 1024


def penultimate_features(bundle: Bundle, x: Rows) -> Floats:
    """One finite vector (N, F) a row: the penultimate layers of all members side by side.

    Logits where a member has no linear layer. Not for a version that serves: it registers hooks on
    the members' layers while they answer.
    """
    z = bundle.encoding.apply(x)
    columns = [_member_features(member, z, bundle.device) for member in bundle.members]
    return np.nan_to_num(np.concatenate(columns, axis=1), nan=0.0, posinf=0.0, neginf=0.0)


def _member_features(member: nn.Module, z: np.ndarray, device: torch.device) -> Floats:
    last = [module for module in member.modules() if isinstance(module, nn.Linear)][-1:]
    captured: list[torch.Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
        for layer in last
    ]
    out = []
    try:
        with torch.inference_mode():
            for start in range(0, len(z), BATCH):
                captured.clear()
                logits = member(torch.from_numpy(z[start : start + BATCH]).to(device))
                seen = captured[-1] if captured else logits
                out.append(seen.flatten(1).float().cpu().numpy())
    finally:
        for handle in handles:
            handle.remove()
    return np.concatenate(out) if out else np.empty((0, 0), dtype=np.float32)
