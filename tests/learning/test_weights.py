"""Weights that were brought: checked by their header alone, and a first version of one member that
starts its students.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from turned_digits import DIGITS, learn, spec, window_of

from acclimate.learning import pipeline
from acclimate.learning.data import Part, SeedSet
from acclimate.learning.models import bundle_format, weights
from acclimate.learning.models.networks import BundleError
from acclimate.learning.spec import NetworkSpec

NETWORK = f"{__name__}:brought"


class Sixteenths(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor([1 / 16]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


def brought(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Reads pixels of 0 to 16 as they are, with a scale of its own."""
    return nn.Sequential(Sixteenths(), nn.Linear(shape[0], 64), nn.ReLU(), nn.Linear(64, classes))


SPEC = replace(
    spec(), network=NetworkSpec(network=NETWORK, members=3), weights_path="m.safetensors"
)


@pytest.fixture(scope="module")
def trained(parts: SeedSet) -> dict[str, np.ndarray]:
    """The state of a network that somebody trained elsewhere, without us."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = brought(DIGITS.shape, 10).train()
        x, y = torch.from_numpy(parts.train.x), torch.from_numpy(parts.train.y)
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
        for _ in range(150):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x), y).backward()
            optimizer.step()
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def header(arrays: dict[str, np.ndarray]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (array.dtype.name, array.shape) for name, array in arrays.items()}


def check(arrays: dict[str, np.ndarray], given=SPEC) -> list[str]:
    return [
        problem.detail for problem in weights.check(header(arrays), given, allowlist=(NETWORK,))
    ]


def test_the_weights_of_the_network_fit_and_are_finite(trained):
    assert check(trained) == []
    assert weights.finite(trained) == []


def test_weights_of_another_network_are_refused_by_name_shape_and_type(trained):
    without = {name: array for name, array in trained.items() if name != "1.bias"}
    assert check(without) == ["tensors are missing: 1.bias"]
    assert check({**trained, "9.bias": np.zeros(3)}) == [
        "tensors that the network does not have: 9.bias"
    ]
    [misshapen] = check({**trained, "1.bias": np.zeros(63, np.float32)})
    assert misshapen == "'1.bias' is float32[63], the network has float32[64]"
    [mistyped] = check({**trained, "1.bias": np.zeros(64, np.float16)})
    assert mistyped == "'1.bias' is float16[64], the network has float32[64]"


def test_a_network_outside_the_allow_list_is_never_imported(trained):
    [problem] = weights.check(header(trained), SPEC)
    assert "ACCLIMATE_NETWORK_ALLOWLIST" in problem.detail


def test_numbers_that_are_not_finite_are_counted(trained):
    broken = {**trained, "1.bias": np.array([np.nan, np.inf, 0], np.float32)}
    assert [problem.detail for problem in weights.finite(broken)] == [
        "'1.bias' holds 2 numbers that are not finite"
    ]


def test_version_1_is_the_brought_weights_and_students_have_all_members(parts, stream, trained):
    step, seeds = pipeline.plain_step(0), parts
    made = pipeline.begin(SPEC, seeds, step=step, allowlist=(NETWORK,), weights=trained)
    first = made.student
    assert made.promoted
    assert len(first.members) == 1
    module = brought(DIGITS.shape, 10)
    module.load_state_dict({name: torch.tensor(array) for name, array in trained.items()})
    with torch.inference_mode():
        outside = module.eval()(torch.from_numpy(stream.x)).numpy()
    np.testing.assert_allclose(first.member_logits(stream.x)[0], outside, atol=1e-5)
    again = bundle_format.build(*bundle_format.pack(first), allowlist=(NETWORK,), device="cpu")
    assert (again.network_probabilities(stream.x) == first.network_probabilities(stream.x)).all()
    window = window_of(stream.turned(10, rng=np.random.default_rng(1))[0])
    student = learn(window, seeds, first, first).student
    assert len(student.members) == 3
    states = [member.state_dict()["1.weight"] for member in student.members]
    assert not torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])


def test_weights_that_do_not_fit_make_no_version(parts, trained):
    with pytest.raises(BundleError, match=r"missing: 1\.bias"):
        pipeline.begin(
            SPEC,
            parts,
            step=pipeline.plain_step(0),
            allowlist=(NETWORK,),
            weights={name: array for name, array in trained.items() if name != "1.bias"},
        )


def test_the_distance_from_the_anchor_is_a_share_of_its_length_whatever_the_members(anchor):
    grown = replace(anchor, members=tuple(copy.deepcopy(member) for member in anchor.members))
    with torch.no_grad():
        for member in grown.members:
            for parameter in member.parameters():
                parameter *= 1.1
    assert weights.distance(anchor, anchor) == 0.0
    assert weights.distance(grown, anchor) == pytest.approx(0.1, rel=0.01)
    one = replace(anchor, members=anchor.members[:1])
    assert weights.distance(replace(anchor, members=anchor.members[:1] * 3), one) == 0.0


def test_a_student_says_what_it_comes_of(stream, parts, anchor):
    x, y = stream.turned(7, rng=np.random.default_rng(1))
    taught = Part(x=x[:20], y=y[:20])
    window = replace(window_of(x[20:]), taught=taught)
    found = learn(window, parts, anchor, anchor).lineage
    assert found is not None
    assert found.replay_rows == tuple(
        np.bincount(np.concatenate([parts.train.y, taught.y]), minlength=10)
    )
    assert 0.01 < found.anchor_distance < 1
    assert found.as_json(DIGITS.classes)["replay_rows"]["3"] == found.replay_rows[3]
