"""The immutable bundle of one version: its networks, and how they answer in its serving mode."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acclimate.learning.data import Floats, Rows
from acclimate.learning.models.mode_state import State
from acclimate.learning.models.modes import PLAIN, Encoding, Mode
from acclimate.learning.models.networks import BundleError
from acclimate.learning.spec import InputSpec, NetworkSpec
from acclimate.learning.thresholds import DEFAULT

BATCH = 1024
SELF_TEST_ROWS = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a version answers to rows in a state of its mode.

    probabilities (N, C) are served; raw (N, C) is what the networks answered, another array only
    where the mode re-weights; seen (N, C or D) is what the mode's state moves on by.
    """

    probabilities: Floats
    raw: Floats
    seen: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """One version in memory: immutable, answers from many threads at once.

    The members are in eval mode and need no gradients. selftest_x (K, *shape) are raw rows,
    selftest_probabilities (K, C) the networks' answers to them when the version was made; K = 0
    before `with_self_test`. `strength` in 0..1 is that of the augmentation in training.
    """

    input_spec: InputSpec
    network_spec: NetworkSpec
    members: tuple[nn.Module, ...]
    encoding: Encoding
    strength: float
    temperature: float
    selftest_x: Rows
    selftest_probabilities: Floats
    mode: Mode = PLAIN

    @property
    def device(self) -> torch.device:
        first = next(self.members[0].parameters(), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def start(self) -> State | None:
        """The starting state of the mode; None in plain mode."""
        return self.mode.start

    @property
    def serving_mode(self) -> str:
        """The name of the mode, for records and reports."""
        return self.mode.name

    def predict(self, x: Rows, state: State | None = None) -> Answer:
        """The version's answer to raw rows x (N, *shape) in a state of its mode.

        The same for ever, in whatever batch a row comes, up to float32 rounding. Without a state
        the networks answer as in plain mode.
        """
        raw = self.network_probabilities(x, state)
        if state is None:
            return Answer(probabilities=raw, raw=raw, seen=raw)
        seen = self.mode.observed(self.encoding, x, raw)
        return Answer(probabilities=self.mode.adapted(raw, state), raw=raw, seen=seen)

    def network_probabilities(self, x: Rows, state: State | None = None) -> Floats:
        """The mean (N, C) float32 of the members' calibrated softmax, without re-weighting.

        Rows are read in `state`; without one on the seed's scale.
        """
        return np.asarray(self.member_probabilities(x, state).mean(axis=0), dtype=np.float32)

    def member_probabilities(self, x: Rows, state: State | None = None) -> Floats:
        """Each member's calibrated softmax (M, N, C) float32."""
        return self.calibrated(self.member_logits(x, state))

    def member_logits(self, x: Rows, state: State | None = None) -> Floats:
        """Each member's logits (M, N, C) float32, uncalibrated."""
        return self.encoded_logits(self.encode(x, state))

    def encode(self, x: Rows, state: State | None = None) -> NDArray[Any]:
        """What the networks read of raw rows x in a state of the mode. Raises ValueError."""
        shape = self.input_spec.shape
        if x.shape[1:] != shape:
            raise ValueError(f"rows of shape {list(x.shape[1:])} given, {list(shape)} expected")
        return self.mode.read(self.encoding, x, state)

    def features(self, x: Rows, state: State | None = None) -> Floats:
        """The rows as they are read, as vectors (N, F) that can be compared."""
        return self.mode.features(self.encoding, x, state)

    def encoded_logits(self, z: NDArray[Any]) -> Floats:
        """Each member's logits (M, N, C) float32 for rows that are encoded already."""
        out = np.empty((len(self.members), len(z), len(self.input_spec.classes)), dtype=np.float32)
        device = self.device
        with torch.inference_mode():
            for start in range(0, len(z), BATCH):
                chunk = torch.from_numpy(z[start : start + BATCH]).to(device)
                for index, member in enumerate(self.members):
                    out[index, start : start + BATCH] = member(chunk).float().cpu().numpy()
        return out

    def calibrated(self, logits_MNC: Floats) -> Floats:
        """The softmax (M, N, C) of logits at the version's temperature."""
        logits = torch.from_numpy(logits_MNC)
        return np.asarray(torch.softmax(logits / self.temperature, dim=-1).numpy())

    def with_mode(self, mode: Mode) -> Bundle:
        """The same networks served in another mode. Raises `BundleError` where it does not fit."""
        wrong = mode.problem(self.input_spec, raw=getattr(self.encoding, "raw", False))
        if wrong is not None:
            raise BundleError(wrong)
        return replace(self, mode=mode)

    def caught_up(self, x: Rows) -> Bundle:
        """The bundle once its mode has followed the traffic to these rows."""
        return replace(self, mode=self.mode.caught_up(self.encoding, x))

    def with_self_test(self, x: Rows) -> Bundle:
        """The bundle with its answers to those of the raw rows x that it is least sure of.

        Where it is sure, twice the weights give the same answer within the tolerance; where it is
        not, a thousandth more shows.
        """
        confidence = self.network_probabilities(x).max(axis=1)
        least_sure = np.argsort(confidence, kind="stable")[:SELF_TEST_ROWS]
        rows = self.input_spec.rows(x[least_sure])
        return replace(
            self, selftest_x=rows, selftest_probabilities=self.network_probabilities(rows)
        )

    def without_self_test(self) -> Bundle:
        """The bundle without stored answers: its members are other ones now."""
        return replace(
            self,
            selftest_x=self.selftest_x[:0],
            selftest_probabilities=self.selftest_probabilities[:0],
        )


def self_test_deviation(bundle: Bundle) -> float:
    """Largest difference from the stored answers.

    Infinite without stored rows, or where an answer is not finite.
    """
    if not len(bundle.selftest_x):
        return math.inf
    answers = bundle.network_probabilities(bundle.selftest_x)
    deviation = float(np.abs(answers - bundle.selftest_probabilities).max())
    return deviation if math.isfinite(deviation) else math.inf


def non_finite_weights(bundle: Bundle) -> int:
    """How many numbers in the members, parameters and buffers, are NaN or infinite."""
    tensors = (tensor for member in bundle.members for tensor in member.state_dict().values())
    return sum(int((~torch.isfinite(tensor)).sum()) for tensor in tensors)


def self_test(bundle: Bundle) -> None:
    """Raises `BundleError` unless all weights are finite and stored rows have stored answers."""
    broken = non_finite_weights(bundle)
    if broken:
        raise BundleError(f"{broken} weights are not finite")
    if not len(bundle.selftest_x):
        raise BundleError("there are no self-test rows")
    deviation, tolerance = self_test_deviation(bundle), DEFAULT.self_test_tolerance
    if not deviation <= tolerance:
        raise BundleError(
            f"self-test answers differ by {deviation:.2g} from the stored ones; "
            f"allowed is {tolerance:g}"
        )


def warm_up(bundle: Bundle) -> None:
    """Pays the cost of the first forward passes, of one row and of a batch, before traffic does."""
    for rows in (1, 64):
        bundle.network_probabilities(bundle.input_spec.blank(rows))
