import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from torch import nn
from turned_digits import DIGITS

from acclimate.learning.models import bundle as bundles
from acclimate.learning.models import bundle_format, networks
from acclimate.learning.spec import InputSpec, NetworkSpec
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.store import Store


def brought(shape: tuple[int, ...], classes: int, width: int = 8) -> nn.Module:
    return nn.Sequential(
        nn.Linear(shape[0], width), nn.BatchNorm1d(width), nn.Linear(width, classes)
    )


def wrong(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Linear(shape[0], classes + 1)


def broken(shape: tuple[int, ...], classes: int) -> nn.Module:
    raise LookupError("no such layer")


def narrow(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Linear(shape[0], classes, dtype=torch.bfloat16)


class Deaf(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("hears nothing")


def deaf(shape: tuple[int, ...], classes: int) -> nn.Module:
    return Deaf()


BROUGHT = f"{__name__}:brought"


def initialise(
    name: str, *, allowlist: tuple[str, ...] = (), **args: object
) -> tuple[nn.Module, ...]:
    return networks.initialise(
        DIGITS,
        NetworkSpec(network=name, args=args),
        rng=np.random.default_rng(0),
        allowlist=allowlist,
    )


def test_a_version_survives_pack_json_safetensors_and_build_bit_for_bit(anchor, stream):
    manifest, arrays = bundle_format.pack(anchor)
    again = bundle_format.build(json.loads(json.dumps(manifest)), load(save(arrays)), device="cpu")
    assert bundle_format.pack(again)[0] == manifest
    for name, array in bundle_format.pack(again)[1].items():
        assert array.dtype == arrays[name].dtype
        assert array.tobytes() == arrays[name].tobytes(), name
    assert (again.network_probabilities(stream.x) == anchor.network_probabilities(stream.x)).all()
    bundles.self_test(again)
    bundles.warm_up(again)


def test_the_answer_is_the_mean_of_the_members_calibrated_softmax(anchor, stream):
    x = stream.x[:50]
    by_hand = [
        torch.softmax(torch.from_numpy(logits) / anchor.temperature, -1)
        for logits in anchor.member_logits(x)
    ]
    np.testing.assert_allclose(
        anchor.network_probabilities(x), torch.stack(by_hand).mean(0).numpy(), atol=1e-6
    )
    np.testing.assert_allclose(anchor.network_probabilities(x).sum(axis=1), 1, atol=1e-5)
    assert anchor.network_probabilities(x).dtype == np.float32
    assert anchor.member_probabilities(x).shape == (3, 50, 10)


def test_a_row_has_the_same_answer_in_any_batch(anchor, stream):
    x = np.concatenate([stream.x, stream.x])  # 1,800 rows: more than one internal batch
    together = anchor.network_probabilities(x)
    for size in (1, 7, 64):
        np.testing.assert_allclose(
            anchor.network_probabilities(x[1100 : 1100 + size]),
            together[1100 : 1100 + size],
            atol=1e-6,
        )


def test_no_rows_have_no_answers(anchor):
    assert anchor.network_probabilities(np.empty((0, 64), dtype=np.float32)).shape == (0, 10)


def test_rows_of_another_shape_are_refused(anchor):
    with pytest.raises(ValueError, match=r"\[63\] given, \[64\] expected"):
        anchor.network_probabilities(np.zeros((2, 63), dtype=np.float32))


def test_members_are_drawn_differently_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second, third = initialise("mlp", hidden=[16])
    assert torch.equal(torch.get_rng_state(), before)
    weights = [member.state_dict()["layers.0.weight"] for member in (first, second, third)]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    again = initialise("mlp", hidden=[16])[0].state_dict()["layers.0.weight"]
    assert torch.equal(weights[0], again)


def test_sealed_members_need_no_gradients(anchor):
    assert not any(
        parameter.requires_grad for member in anchor.members for parameter in member.parameters()
    )
    assert not any(member.training for member in anchor.members)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, a: a.pop("member.2.layers.0.bias"), "missing: member.2.layers.0.bias"),
        (lambda m, a: a.update(stray=np.zeros(1)), "not expected: stray"),
        (
            lambda m, a: a.update({"encoding.center": np.zeros(63, np.float32)}),
            r"float32\[63\], not float32\[64\]",
        ),
        (lambda m, a: a.update({"selftest.x": a["selftest.x"].astype(np.float64)}), "is float64"),
        (lambda m, a: a.update({"selftest.x": a["selftest.x"][:3]}), "differ in length"),
        (lambda m, a: m.update(format=1), "format 1; this release reads 2"),
        (lambda m, a: m.pop("classes"), "lacks 'classes'"),
        (lambda m, a: m.update(members=4), "missing: member.3"),
        (lambda m, a: m.update(members="three"), "malformed"),
        (lambda m, a: m.update(temperature=float("nan")), "must be positive and finite"),
        (lambda m, a: m.update(network="rnn"), "unknown network 'rnn'; known: mlp, cnn, text"),
        (lambda m, a: m.update(strength=2), "strength 2.0 must be in 0..1"),
        (lambda m, a: m.pop("raw"), "lacks 'raw'"),
        (lambda m, a: m.update(network="os:system"), "not in ACCLIMATE_NETWORK_ALLOWLIST"),
    ],
)
def test_a_damaged_artifact_is_refused_and_named(anchor, change, message):
    manifest, arrays = bundle_format.pack(anchor)
    change(manifest, arrays)
    with pytest.raises(networks.BundleError, match=message):
        bundle_format.build(manifest, arrays, device="cpu")


def test_the_self_test_notices_one_layer_of_one_member_two_thousandths_larger(anchor):
    manifest, arrays = bundle_format.pack(anchor)
    arrays["member.1.layers.0.weight"] *= np.float32(1.002)
    with pytest.raises(networks.BundleError, match="self-test answers differ"):
        bundles.self_test(bundle_format.build(manifest, arrays, device="cpu"))


def test_the_self_test_refuses_weights_that_are_not_finite(anchor):
    manifest, arrays = bundle_format.pack(anchor)
    arrays["member.0.layers.2.bias"][5] = np.nan
    with pytest.raises(networks.BundleError, match="1 weights are not finite"):
        bundles.self_test(bundle_format.build(manifest, arrays, device="cpu"))


def test_the_self_test_refuses_a_version_without_stored_answers(anchor):
    bare = replace(
        anchor,
        selftest_x=anchor.selftest_x[:0],
        selftest_probabilities=anchor.selftest_probabilities[:0],
    )
    with pytest.raises(networks.BundleError, match="no self-test rows"):
        bundles.self_test(bare)


def test_a_network_brought_from_the_allow_list_is_built_and_packed(anchor):
    members = networks.seal(initialise(BROUGHT, allowlist=(BROUGHT,), width=4))
    spec = NetworkSpec(network=BROUGHT, args={"width": 4})
    own = replace(anchor, network_spec=spec, members=members).with_self_test(
        np.zeros((16, 64), np.float32)
    )
    again = bundle_format.build(*bundle_format.pack(own), allowlist=(BROUGHT,), device="cpu")
    bundles.self_test(again)
    with pytest.raises(networks.BundleError, match="ACCLIMATE_NETWORK_ALLOWLIST"):
        bundle_format.build(*bundle_format.pack(own), device="cpu")


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        (f"{__name__}:wrong", {}, r"answers shape \[2, 11\] to 2 rows; give \[2, 10\]"),
        (f"{__name__}:missing", {}, "could not be made: AttributeError"),
        (BROUGHT, {"colour": "red"}, "could not be made: TypeError"),
        (f"{__name__}:dict", {}, "could not be made"),
        (f"{__name__}:broken", {}, "could not be made: LookupError: no such layer"),
        (f"{__name__}:narrow", {}, r"has tensors of torch\.bfloat16; a version keeps float32"),
        (f"{__name__}:deaf", {}, "cannot read such rows: .*hears nothing"),
    ],
)
def test_a_network_that_cannot_serve_is_refused(name, args, message):
    with pytest.raises(networks.BundleError, match=message):
        initialise(name, allowlist=(name,), **args)


def test_building_leaves_the_given_arrays_alone(anchor, stream):
    manifest, arrays = bundle_format.pack(anchor)
    kept = copy.deepcopy(arrays)
    for array in arrays.values():
        array.flags.writeable = False  # as a memory map gives them
    bundle_format.build(manifest, arrays, device="cpu").network_probabilities(stream.x[:5])
    assert all((arrays[name] == kept[name]).all() for name in kept)


KINDS = {
    "vector": (InputSpec(kind="vector", shape=(5,), classes=("a", "b", "c")), "mlp", {}),
    "grey": (
        InputSpec(kind="image", shape=(8, 8), classes=("a", "b", "c")),
        "cnn",
        {"channels": [4, 8], "hidden": []},
    ),
    "colour": (InputSpec(kind="image", shape=(3, 40, 9), classes=("a", "b", "c")), "cnn", {}),
    "flat image": (
        InputSpec(kind="image", shape=(9, 8), classes=("a", "b", "c")),
        "mlp",
        {"hidden": [16]},
    ),
    "text": (
        InputSpec(kind="text", shape=(1,), classes=("a", "b", "c")),
        "text",
        {"buckets": 50, "length": 6, "dim": 4},
    ),
    "sequence": (
        InputSpec(kind="sequence", shape=(7,), classes=("a", "b", "c")),
        "text",
        {"vocabulary": 30},
    ),
}


def some_rows(spec: InputSpec, n: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    if spec.kind == "text":
        return np.array(
            [
                [" ".join(rng.choice(["free", "clip!", "Où", "好", ""], size=i % 9))]
                for i in range(n)
            ],
            dtype=object,
        )
    if spec.kind == "sequence":
        return rng.integers(0, 2**40, size=(n, 7))
    return rng.standard_normal((n, *spec.shape)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_of_every_kind_answers_its_rows_and_comes_back_as_it_was(kind, tmp_path):
    spec, name, args = KINDS[kind]
    network_spec = NetworkSpec(network=name, args=args, members=2)
    x = some_rows(spec, 40)
    members = networks.seal(networks.initialise(spec, network_spec, rng=np.random.default_rng(0)))
    bundle = bundles.Bundle(
        input_spec=spec,
        network_spec=network_spec,
        members=members,
        encoding=networks.fit_encoding(x, spec, network_spec),
        strength=0.5,
        temperature=1.5,
        selftest_x=x[:0],
        selftest_probabilities=np.empty((0, 3), np.float32),
    )
    bundle = bundle.with_self_test(x)
    artifacts = Artifacts(Store(f"file://{tmp_path}/store", tmp_path / "cache"))
    again = bundle_format.build(
        *artifacts.read(artifacts.write(*bundle_format.pack(bundle))), device="cpu"
    )
    bundles.self_test(again)
    bundles.warm_up(again)
    answers = again.network_probabilities(x)
    assert (answers == bundle.network_probabilities(x)).all()
    np.testing.assert_allclose(answers[:7], again.network_probabilities(x[:7]), atol=1e-6)
    assert len({row.tobytes() for row in answers}) > 1
    assert bundle_format.pack(again)[0] == bundle_format.pack(bundle)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_built_in_network_draws_from_its_own_generator(kind):
    spec, name, args = KINDS[kind]
    before = torch.get_rng_state()
    drawn = [
        networks.initialise(
            spec, NetworkSpec(network=name, args=args, members=2), rng=np.random.default_rng(0)
        )
        for _ in range(2)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    states = [
        [tensor for tensor in member.state_dict().values()]
        for members in drawn
        for member in members
    ]
    assert all(torch.equal(one, same) for one, same in zip(states[0], states[2], strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(states[0], states[1], strict=True))
