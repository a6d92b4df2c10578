"""SPEC.toml of every kind: what is read, and what is said of a wrong one."""

from __future__ import annotations

import pytest

from acclimate import spec
from acclimate.learning.spec import ModelSpec


def text(
    kind: str = "vector", shape: str = "[4]", network: str = "mlp", more: str = "", args: str = ""
) -> str:
    return f"""
[model]
name = "m"
network = "{network}"
{more}
[model.network_args]
{args}
[input]
kind = "{kind}"
shape = {shape}
classes = ["a", "b"]
[seed]
path = "seed.npz"
"""


def problems(*given: str, **named: str) -> list[tuple[str, str]]:
    with pytest.raises(spec.SpecError) as error:
        spec.parse(text(*given, **named), network_allowlist=("mine.net:make",))
    return [(problem.pointer, problem.detail) for problem in error.value.problems]


@pytest.mark.parametrize(
    ("kind", "shape", "network", "args"),
    [
        ("vector", "[4]", "mlp", "hidden = [8]"),
        ("image", "[8, 8]", "cnn", "channels = [8]\nhidden = [16]"),
        ("image", "[3, 20, 31]", "cnn", ""),
        ("image", "[8, 8]", "mlp", ""),
        ("text", "[1]", "text", "buckets = 512\nlength = 64\ndim = 16\nhidden = [8]"),
        ("sequence", "[30]", "text", "vocabulary = 100"),
        ("sequence", "[30]", "mine.net:make", "anything = 3"),
    ],
)
def test_every_kind_is_read_and_survives_storage(kind, shape, network, args):
    read = spec.parse(text(kind, shape, network, args=args), network_allowlist=("mine.net:make",))
    assert read.input.kind == kind
    assert ModelSpec.from_json(read.as_json()) == read


def test_weights_are_the_path_of_a_file():
    assert spec.parse(text(more='weights = "m.safetensors"')).weights_path == "m.safetensors"
    assert problems(more="weights = 3") == [("#/model/weights", "3 is not the path of a file")]


@pytest.mark.parametrize(
    ("given", "pointer", "detail"),
    [
        (("imge", "[8, 8]", "cnn"), "#/input/kind", "did you mean 'image'?"),
        (("image", "[8]", "cnn"), "#/input/shape", "give [H, W] or [C, H, W]"),
        (("image", "[3, 7, 8]", "cnn"), "#/input/shape", "smaller than 8x8"),
        (("vector", "[2, 2]", "mlp"), "#/input/shape", "kind 'vector': give [D]"),
        (("text", "[2]", "text"), "#/input/shape", "give [1]: one string per row"),
        (
            ("vector", "[5000000]", "mlp"),
            "#/input/shape",
            "is not a list of positive whole numbers",
        ),
        (("image", "[3, 3000, 3000]", "cnn"), "#/input/shape", "more than 4000000 numbers"),
        (
            ("vector", "[4]", "cnn"),
            "#/model/network",
            "'cnn' does not read rows of kind 'vector'; use mlp",
        ),
        (("text", "[1]", "mlp"), "#/model/network", "use text"),
        (("vector", "[4]", "rnn"), "#/model/network", "known: mlp, cnn, text"),
        (("vector", "[4]", "other.net:make"), "#/model/network", "ACCLIMATE_NETWORK_ALLOWLIST"),
    ],
)
def test_a_wrong_kind_shape_or_network_is_named_with_what_would_be_right(given, pointer, detail):
    [(where, what)] = problems(*given)
    assert where == pointer
    assert detail in what


@pytest.mark.parametrize(
    ("kind", "shape", "network", "args", "pointer"),
    [
        ("image", "[8, 8]", "cnn", "channels = []", "channels"),
        ("image", "[8, 8]", "cnn", "chanels = [3]", "chanels"),
        ("text", "[1]", "text", "buckets = 1", "buckets"),
        ("text", "[1]", "text", "vocabulary = 5", "vocabulary"),
        ("sequence", "[9]", "text", "length = 5", "length"),
        ("text", "[1]", "mine.net:make", 'length = "all"', "length"),
    ],
)
def test_a_wrong_argument_of_a_network_is_named(kind, shape, network, args, pointer):
    [(where, _)] = problems(kind, shape, network, args=args)
    assert where == f"#/model/network_args/{pointer}"


@pytest.mark.parametrize(("given", "value"), [("0.1", 0.1), ("0", 0.0), ("1", 1.0)])
def test_a_policy_limits_how_far_the_served_version_may_be_from_the_proved_one(given, value):
    read = spec.parse(text() + f"[policy]\nmax_unproved = {given}")
    assert read.policy.max_unproved == value
    assert spec.parse(text()).policy.max_unproved == 0.0


@pytest.mark.parametrize("given", ["-0.1", "1.01", "nan", '"much"', "true"])
def test_a_share_of_unproved_rows_outside_0_to_1_is_refused(given):
    with pytest.raises(spec.SpecError) as error:
        spec.parse(text() + f"[policy]\nmax_unproved = {given}")
    assert [problem.pointer for problem in error.value.problems] == ["#/policy/max_unproved"]


def test_stored_settings_of_older_and_newer_releases_are_read():
    document = spec.parse(text()).as_json()
    del document["policy"]["max_unproved"]
    for part in ("log", "policy", "gates"):
        document[part]["of_a_newer_release"] = 3
    assert ModelSpec.from_json(document) == spec.parse(text())


@pytest.mark.parametrize("given", ["0s", "90s", "10m", "2h"])
def test_the_time_that_a_student_waits_for_labels_is_a_duration(given):
    read = spec.parse(text() + f'[policy]\nhold_for_labels = "{given}"')
    assert read.policy.hold_for_labels == given


@pytest.mark.parametrize("given", ['"soon"', '"10"', '"-5s"', '"1d"', "10", "true"])
def test_another_time_is_refused(given):
    with pytest.raises(spec.SpecError) as error:
        spec.parse(text() + f"[policy]\nhold_for_labels = {given}")
    assert [problem.pointer for problem in error.value.problems] == ["#/policy/hold_for_labels"]
