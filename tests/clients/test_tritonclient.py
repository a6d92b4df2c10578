"""A client that others wrote, against the running service: tritonclient over HTTP with JSON
tensors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Service, wait_for
from small_model import SPEC, create, labeled, seed_file

triton: Any = pytest.importorskip(
    "tritonclient.http", reason="tritonclient is not installed: make test-clients"
)
triton_aio: Any = pytest.importorskip(
    "tritonclient.http.aio", reason="tritonclient is not installed: make test-clients"
)

NAME = "triton"
X, Y = labeled(6)
OUTPUTS = ("probabilities", "label", "class", "confidence", "abstain")
QUIET = {"log": False}
VECTOR = 'network = "mlp"', "hidden = [16]", 'kind = "vector"', "shape = [4]"
IMAGE = 'network = "cnn"', "channels = [4]", 'kind = "image"', "shape = [8, 8]"
TEXT = 'network = "text"', "buckets = 256", 'kind = "text"', "shape = [1]"
WORDS = (("cold", "snow", "ice"), ("mild", "rain", "fog"), ("hot", "sun", "sand"))


class Bearer(triton.InferenceServerClientPlugin):
    """Adds the key to every request."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, request: Any) -> None:
        request.headers["Authorization"] = f"Bearer {self.key}"


@pytest.fixture(scope="module")
def running(short_folder: Path) -> Iterator[Service]:
    running = Service(home=short_folder / "clients").start()
    try:
        with running.http() as http:
            create(http, NAME)
        yield running
    finally:
        code = running.stop()
    assert code == 0, running.logs()


def of_kind(kind: tuple[str, ...]) -> str:
    """The small model's spec for inputs of another kind."""
    spec = SPEC
    for old, new in zip(VECTOR, kind, strict=True):
        spec = spec.replace(old, new)
    return spec


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x (count, 8, 8) of bytes, brighter by class; y (count,)."""
    y = np.arange(count) % 3
    return np.random.default_rng(seed).integers(0, 50, (count, 8, 8), np.uint8) + (
        90 * y[:, None, None]
    ).astype("u1"), y


def sentences(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x (count, 1) of strings in the words of their class; y (count,)."""
    rng, y = np.random.default_rng(seed), np.arange(count) % 3
    return np.array([[" ".join(rng.choice(WORDS[one], 4)) + " – né"] for one in y]), y


@pytest.fixture
def client(running: Service) -> Iterator[Any]:
    with triton.InferenceServerClient(running.url.removeprefix("http://"), concurrency=4) as client:
        client.register_plugin(Bearer(running.key))
        yield client


def rows(x: np.ndarray = X, datatype: str = "FP32", name: str = "input") -> list[Any]:
    """The one input tensor, as JSON."""
    tensor = triton.InferInput(name, list(x.shape), datatype)
    tensor.set_data_from_numpy(x.astype(triton.triton_to_np_dtype(datatype)), binary_data=False)
    return [tensor]


def wanted(*names: str) -> list[Any]:
    return [triton.InferRequestedOutput(name, binary_data=False) for name in names or OUTPUTS]


def ask(client: Any, **changes: Any) -> Any:
    return client.infer(
        NAME, **{"inputs": rows(), "outputs": wanted(), "parameters": QUIET, **changes}
    )


def refused(status: int, act: Any, *arguments: Any, **named: Any) -> str:
    """The server's own words, which the client found where it looks for them."""
    with pytest.raises(triton_aio.InferenceServerException) as told:
        act(*arguments, **named)
    assert told.value.status() == str(status)
    return str(told.value.message())


def test_it_finds_the_server_and_the_model_ready(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(NAME) and client.is_model_ready(NAME, "1")
    assert not client.is_model_ready("nobody") and not client.is_model_ready(NAME, "2")


def test_it_reads_what_server_and_model_say_of_themselves(client):
    assert client.get_server_metadata()["extensions"] == []
    about = client.get_model_metadata(NAME)
    assert (about["name"], about["versions"]) == (NAME, ["1"])
    assert about["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
    assert [output["name"] for output in about["outputs"]] == list(OUTPUTS)
    assert client.get_model_metadata(NAME, "1") == about


def test_every_output_arrives_as_the_array_that_the_model_declares(client):
    result = ask(client, request_id="mine")
    arrays = {name: result.as_numpy(name) for name in OUTPUTS}
    assert arrays["probabilities"].shape == (6, 3) and arrays["probabilities"].dtype == np.float32
    assert np.allclose(arrays["probabilities"].sum(axis=1), 1, atol=1e-5)
    assert arrays["class"].dtype == np.int64 and arrays["class"].tolist() == Y.tolist()
    assert arrays["label"].tolist() == [("low", "middle", "high")[y] for y in Y]
    assert np.array_equal(arrays["confidence"], arrays["probabilities"].max(axis=1))
    assert arrays["abstain"].dtype == bool and not arrays["abstain"].any()
    reply = result.get_response()
    assert (reply["id"], reply["model_version"], reply["parameters"]) == (
        "mine",
        "1",
        {"log": "off"},
    )


def test_outputs_that_it_did_not_ask_for_do_not_come_and_without_a_wish_all_come(client):
    few = ask(client, outputs=wanted("class"))
    assert few.as_numpy("class").tolist() == Y.tolist() and few.as_numpy("label") is None
    # Without outputs it wishes for binary ones; ours are JSON, which it reads as well.
    everything = ask(client, outputs=None)
    assert all(everything.as_numpy(name) is not None for name in OUTPUTS)


@pytest.mark.parametrize("datatype", ["FP64", "INT32", "INT64", "UINT8"])
def test_other_numbers_are_converted(client, datatype):
    x = np.abs(X).round()
    given = ask(client, inputs=rows(x, datatype)).as_numpy("probabilities")
    assert np.array_equal(given, ask(client, inputs=rows(x)).as_numpy("probabilities"))


def test_images_go_in_as_bytes_of_their_pixels(running, client):
    with running.http() as http:
        create(http, "triton-image", of_kind(IMAGE), seed_file(*pictures(90, seed=0)))
    x, y = pictures(6, seed=1)
    assert client.get_model_metadata("triton-image")["inputs"][0]["shape"] == [-1, 8, 8]
    result = client.infer("triton-image", rows(x, "UINT8"), outputs=wanted(), parameters=QUIET)
    assert result.as_numpy("class").tolist() == y.tolist()


def test_texts_go_in_as_bytes(running, client):
    with running.http() as http:
        create(http, "triton-text", of_kind(TEXT), seed_file(*sentences(90, seed=0)))
    x, y = sentences(6, seed=1)
    about = client.get_model_metadata("triton-text")["inputs"]
    assert about == [{"name": "input", "datatype": "BYTES", "shape": [-1, 1]}]
    for shaped in (x, x[:, 0]):
        result = client.infer(
            "triton-text", rows(shaped, "BYTES"), outputs=wanted(), parameters=QUIET
        )
        assert result.as_numpy("class").tolist() == y.tolist()
        assert result.as_numpy("label").tolist() == [("low", "middle", "high")[one] for one in y]


def test_a_version_can_be_addressed(client):
    named = ask(client, model_version="1")
    assert np.array_equal(named.as_numpy("probabilities"), ask(client).as_numpy("probabilities"))
    assert "no version 7" in refused(404, ask, client, model_version="7")


@pytest.mark.parametrize("request_algorithm", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_algorithm", [None, "gzip", "deflate"])
def test_requests_and_responses_may_be_compressed(client, request_algorithm, response_algorithm):
    algorithms = {
        "request_compression_algorithm": request_algorithm,
        "response_compression_algorithm": response_algorithm,
    }
    assert ask(client, **algorithms).as_numpy("class").tolist() == Y.tolist()
    assert "must be" in refused(400, ask, client, inputs=rows(X[:, :3]), **algorithms)


def test_what_it_sends_beside_the_tensors_is_accepted(client):
    reply = ask(
        client, priority=1, timeout=10**6, sequence_id=5, sequence_start=True, sequence_end=True
    )
    assert reply.as_numpy("class").tolist() == Y.tolist()


def test_many_requests_at_once_are_each_answered_with_their_own_rows(client):
    pending = [
        client.async_infer(NAME, rows(X[[i % 6]]), outputs=wanted("class"), parameters=QUIET)
        for i in range(40)
    ]
    assert [one.get_result().as_numpy("class").item() for one in pending] == [
        int(Y[i % 6]) for i in range(40)
    ]


def test_an_error_is_told_in_our_words(client, running):
    assert "there is no model 'nobody'" in refused(404, client.get_model_metadata, "nobody")
    assert "#/inputs/0/shape" in refused(400, ask, client, inputs=rows(X[:, :2]))
    assert "named input" in refused(400, ask, client, inputs=rows(name="x"))
    assert "not JSON" in refused(400, ask, client, inputs=rows(np.full((1, 4), np.nan)))
    assert "at most 4096" in refused(413, ask, client, inputs=rows(np.zeros((4097, 4))))
    binary = triton.InferInput("input", [6, 4], "FP32")
    binary.set_data_from_numpy(X, binary_data=True)
    assert "binary tensors" in refused(400, ask, client, inputs=[binary])
    client.unregister_plugin()
    assert "Authorization" in refused(401, ask, client)


def test_what_it_sends_is_logged_like_any_other_traffic(client, running):
    reply = ask(client, request_id="kept", parameters=None).get_response()
    assert reply["parameters"] == {"log": "os"}
    with running.http() as http:
        logged = wait_for(lambda: http.get(f"/api/v1/models/{NAME}/rows").text)
    assert logged.count('"kept"') == len(X)


def test_the_asynchronous_client_is_served_alike(running):
    async def talk() -> None:
        async with triton_aio.InferenceServerClient(running.url.removeprefix("http://")) as client:
            client.register_plugin(Bearer(running.key))
            assert await client.is_server_ready() and await client.is_model_ready(NAME)
            for algorithm in (None, "gzip", "deflate"):
                asked = client.infer(
                    NAME,
                    rows(),
                    outputs=wanted(),
                    parameters=QUIET,
                    request_compression_algorithm=algorithm,
                )
                assert (await asked).as_numpy("class").tolist() == Y.tolist()
            with pytest.raises(triton_aio.InferenceServerException, match="named input"):
                await client.infer(
                    NAME, rows(name="x"), outputs=wanted(), request_compression_algorithm="gzip"
                )

    asyncio.run(talk())
