"""What a version sees in rows: the inputs of each member's last linear layer, in which classes lie
apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from acclimate.learning.data import Floats, Rows

if TYPE_CHECKING:
    from acclimate.learning.models.network import Bundle

BATCH = 1024


def features(bundle: Bundle, x: Rows) -> Floats:
    """One finite vector (N, F) a row: the penultimate layers of all members side by side, or logits
    where none is linear.

    Not for a version that serves: it listens to the members' layers while they answer.
    """
    z = bundle.encoding.apply(x)
    columns = [_member_features(member, z, bundle.device) for member in bundle.members]
    return np.nan_to_num(np.concatenate(columns, axis=1), nan=0.0, posinf=0.0, neginf=0.0)


def _member_features(member: nn.Module, z: np.ndarray, device: torch.device) -> Floats:
    last = [module for module in member.modules() if isinstance(module, nn.Linear)][-1:]
    heard: list[torch.Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0])) for layer in last
    ]
    out = []
    try:
        with torch.inference_mode():
            for start in range(0, len(z), BATCH):
                heard.clear()
                logits = member(torch.from_numpy(z[start : start + BATCH]).to(device))
                seen = heard[-1] if heard else logits
                out.append(seen.flatten(1).float().cpu().numpy())
    finally:
        for handle in handles:
            handle.remove()
    return np.concatenate(out) if out else np.empty((0, 0), dtype=np.float32)
