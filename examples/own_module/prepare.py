"""Writes two specs, seed.npz, stream.npz and weights.safetensors of the tumours into
ACCLIMATE_HOME/own-module/.
"""

from pathlib import Path

import numpy as np
import own_network
import torch
from safetensors.torch import save_file

from acclimate.settings import client_settings

HERE = Path(__file__).parent
SEED_ROWS = 285
WINDOWS = 4
WINDOW_ROWS = 200
GAIN = 0.06
"""How much more a measure shows in each window than in the one before, at most: instruments that go
out of tune.
"""


def main() -> None:
    try:
        from sklearn.datasets import load_breast_cancer
    except ModuleNotFoundError:
        raise SystemExit(
            "the data come with scikit-learn: install the extra, acclimate[demo]"
        ) from None
    rng = np.random.default_rng(0)
    x, y = load_breast_cancer(return_X_y=True)
    order = rng.permutation(len(y))
    x, y = x[order].astype(np.float32), y[order]
    folder = client_settings().home / "own-module"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "seed.npz", x=x[:SEED_ROWS], y=y[:SEED_ROWS])
    np.savez_compressed(folder / "stream.npz", **stream(x[SEED_ROWS:], y[SEED_ROWS:], rng))
    save_file(trained(x[:SEED_ROWS], y[:SEED_ROWS]).state_dict(), folder / "weights.safetensors")
    spec = (HERE / "spec.toml").read_text(encoding="utf-8")
    (folder / "spec.toml").write_text(spec, encoding="utf-8")
    brought = spec.replace('name = "own-module"', 'name = "own-weights"').replace(
        "# weights =", "weights ="
    )
    (folder / "spec_weights.toml").write_text(brought, encoding="utf-8")
    print(
        f"wrote {folder / 'spec.toml'}, spec_weights.toml, seed.npz, stream.npz and "
        f"weights.safetensors beside it"
    )


def stream(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Windows drawn from the other rows, each measure multiplied by a gain of its own that grows
    from window to window.
    """
    gains = rng.uniform(0, GAIN, x.shape[1])
    parts = [rng.permutation(len(y))[:WINDOW_ROWS] for _ in range(WINDOWS)]
    turned = [x[part] * (1 + number * gains) for number, part in enumerate(parts, start=1)]
    return {
        "x": np.concatenate(turned).astype(np.float32),
        "y": y[np.concatenate(parts)],
        "t": np.repeat(np.arange(1, WINDOWS + 1), WINDOW_ROWS),
    }


def trained(x: np.ndarray, y: np.ndarray) -> torch.nn.Module:
    """A network trained here, outside of acclimate, as yours may have been: it reads raw rows."""
    torch.manual_seed(0)
    network = own_network.build(shape=x.shape[1:], classes=2)
    rows, labels = torch.from_numpy(x), torch.from_numpy(y)
    network.center.copy_(rows.mean(dim=0))
    network.scale.copy_(rows.std(dim=0))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(rows), labels).backward()
        optimiser.step()
    return network


if __name__ == "__main__":
    main()
