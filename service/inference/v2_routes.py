"""The Open Inference Protocol at `/v2`, in JSON."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response

from acclimate.storage.registry.keys import Key
from service.auth import Scope
from service.body_limit import whole_body
from service.errors import Refusal, bad_request
from service.inference import versions
from service.inference.model_slot import Model
from service.inference.parsing import requests
from service.inference.prediction import Answered, measured, predict
from service.inference.running_state import POINTER
from service.release import RELEASE
from service.state import ServiceState, service_state

router = APIRouter()
State = Annotated[ServiceState, Depends(service_state)]
PredictKey = Annotated[Key, Depends(Scope("predict"))]


@router.post("/v2/models/{name}/infer", tags=["inference"], operation_id="infer")
async def infer(name: str, request: Request, state: State, key: PredictKey) -> Response:
    """Predict one input tensor with the champion, and log its rows unless `log` is false.

    `parameters.alarm` of the reply is the kind of drift for which the newest closed window is
    quarantined; absent where it is not.
    """
    with measured(state, name, "v2", key):
        body = await _json_body(request, state)
        served = state.slots.champion(name)
        model = state.slots.model(name)
        asked = requests.read_infer(
            body, model.spec.input, most_rows=state.settings.max_request_rows
        )
        if asked.state is not None:
            raise bad_request(
                POINTER,
                "the champion uses its own running state: a state needs a version by number",
            )
        log = asked.log is not False
        answered = await predict(state, model, served, asked, key, log=log, followed=served.running)
        return _inference(model, answered, asked.outputs)


@router.post(
    "/v2/models/{name}/versions/{version}/infer", tags=["inference"], operation_id="infer_version"
)
async def infer_version(
    name: str, version: str, request: Request, state: State, key: PredictKey
) -> Response:
    """Predict one input tensor with a version by number. `parameters.state` is the id of the
    running state to use, from an earlier reply; without it none is used. The rows are logged only
    when `log` is true.

    A version that was never champion answers only with `log: false`: nothing is learnt from its
    answers.
    """
    with measured(state, name, "v2", key):
        body = await _json_body(request, state)
        model = state.slots.model(name)
        served, was_champion = await asyncio.to_thread(versions.load, state, model, version)
        asked = requests.read_infer(
            body, model.spec.input, most_rows=state.settings.max_request_rows
        )
        if not was_champion and asked.log is not False:
            raise Refusal(
                "bad-request",
                f"version {version} was never champion: send parameters.log false",
            )
        followed = None
        if asked.state is not None:
            followed = await asyncio.to_thread(
                state.states.find,
                served.model_id,
                served.version,
                served.bundle.mode,
                asked.state,
            )
        answered = await predict(
            state, model, served, asked, key, log=asked.log is True, followed=followed
        )
        return _inference(model, answered, asked.outputs)


@router.get(
    "/v2",
    tags=["inference"],
    operation_id="server_metadata",
    dependencies=[Depends(Scope("predict"))],
)
@router.get("/v2/", include_in_schema=False, dependencies=[Depends(Scope("predict"))])
async def server_metadata(state: State) -> dict[str, Any]:
    """Name, version and extensions of this server."""
    return {"name": "acclimate", "version": RELEASE, "extensions": []}


@router.get("/v2/health/live", tags=["health"], operation_id="live")
async def live() -> dict[str, bool]:
    """Whether the process answers. Needs no key."""
    return {"live": True}


@router.get("/v2/health/ready", tags=["health"], operation_id="ready")
async def ready(state: State) -> dict[str, Any]:
    """Whether this replica accepts requests. Needs no key. A model without a version answers 503.

    `degraded` is present while the database or the store does not answer: loaded versions are
    served, and rows are kept on this replica's disk.
    """
    silent = [
        name
        for name, away in (("database", state.heartbeat.silent), ("store", state.log_shipper.stuck))
        if away
    ]
    degraded = {"degraded": f"does not answer: {', '.join(silent)}"} if silent else {}
    return {"live": True, "ready": True, **degraded}


@router.get("/v2/models", tags=["inference"], operation_id="list_served_models")
async def list_served_models(state: State, key: PredictKey) -> dict[str, list[str]]:
    """The names of the models, in the format of KServe."""
    return {"models": sorted(state.slots.models)}


@router.get("/v2/models/{name}/ready", tags=["inference"], operation_id="model_ready")
async def model_ready(name: str, state: State, key: PredictKey) -> dict[str, Any]:
    """200 when the model's champion is loaded in this replica."""
    state.slots.champion(name)
    return {"name": name, "ready": True}


@router.get(
    "/v2/models/{name}/versions/{version}/ready", tags=["inference"], operation_id="version_ready"
)
async def version_ready(name: str, version: str, state: State, key: PredictKey) -> dict[str, Any]:
    """200 when the version can answer; it is loaded if necessary."""
    await asyncio.to_thread(versions.load, state, state.slots.model(name), version)
    return {"name": name, "ready": True}


@router.get("/v2/models/{name}", tags=["inference"], operation_id="model_metadata")
@router.get(
    "/v2/models/{name}/versions/{version}", tags=["inference"], operation_id="version_metadata"
)
async def model_metadata(
    name: str, state: State, key: PredictKey, version: str | None = None
) -> dict[str, Any]:
    """Inputs and outputs of the model, and its available versions."""
    model = state.slots.model(name)
    spec = model.spec.input
    classes = len(model.spec.input.classes)
    if version is not None:
        await asyncio.to_thread(versions.load, state, model, version)
        numbers = {int(version)}
    else:
        numbers = await asyncio.to_thread(versions.numbers, state, model)
    outputs = [
        ("probabilities", "FP32", [-1, classes]),
        ("label", "BYTES", [-1]),
        ("class", "INT64", [-1]),
    ]
    outputs += [("confidence", "FP32", [-1]), ("abstain", "BOOL", [-1])]
    return {
        "name": name,
        "versions": [str(number) for number in sorted(numbers)],
        "platform": "pytorch_torchscript",
        "inputs": [{"name": "input", "datatype": spec.datatype, "shape": [-1, *spec.shape]}],
        "outputs": [
            {"name": output, "datatype": kind, "shape": shape} for output, kind, shape in outputs
        ],
    }


async def _json_body(request: Request, state: ServiceState) -> bytes:
    """The body, whatever its Content-Type: clients of the protocol send various ones, or none."""
    if "inference-header-content-length" in request.headers:
        raise Refusal(
            "bad-request",
            "binary tensors (Inference-Header-Content-Length) are not supported: send the data "
            "of every input as JSON",
        )
    return await whole_body(request, most=state.settings.body_limit)


def _inference(model: Model, answered: Answered, outputs: tuple[str, ...]) -> Response:
    n, classes = answered.probabilities.shape
    names = model.spec.input.classes
    best = answered.best.tolist()
    known = {
        "probabilities": ("FP32", [n, classes], lambda: answered.probabilities.ravel().tolist()),
        "label": ("BYTES", [n], lambda: [names[index] for index in best]),
        "class": ("INT64", [n], lambda: best),
        "confidence": ("FP32", [n], lambda: answered.confidence.tolist()),
        "abstain": ("BOOL", [n], answered.abstain.tolist),
    }
    tensors = []
    for name in outputs:
        datatype, shape, data = known[name]
        tensors.append({"name": name, "datatype": datatype, "shape": shape, "data": data()})
    parameters = {"log": answered.log, "state": answered.state, "alarm": answered.alarm}
    document = {
        "model_name": model.name,
        "model_version": answered.version,
        "id": answered.id,
        "parameters": {name: value for name, value in parameters.items() if value is not None},
        "outputs": tensors,
    }
    return Response(orjson.dumps(document), media_type="application/json")
