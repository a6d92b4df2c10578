"""The route that predicts over `/api/v1`."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Request, Response

from acclimate.storage.registry.keys import Key
from service.auth import Scope
from service.body_limit import whole_body
from service.inference.parsing import requests
from service.inference.prediction import measured, predict
from service.state import ServiceState, service_state

router = APIRouter()
State = Annotated[ServiceState, Depends(service_state)]
PredictKey = Annotated[Key, Depends(Scope("predict"))]


@router.post("/api/v1/models/{name}/predict", tags=["predict"], operation_id="predict")
async def predict_rows(name: str, request: Request, state: State, key: PredictKey) -> Response:
    """Predict the rows with the champion, and log them unless `log` is false.

    `alarm` of the reply is the kind of drift for which the newest closed window is quarantined, or
    null.
    """
    with measured(state, name, "api", key):
        body = await whole_body(request, most=state.settings.body_limit)
        served = state.slots.champion(name)
        model = state.slots.model(name)
        asked = requests.read_predict(
            body, model.spec.input, most_rows=state.settings.max_request_rows
        )
        answered = await predict(
            state, model, served, asked, key, log=asked.log is not False, followed=served.running
        )
        classes = model.spec.input.classes
        predictions = [
            {
                "label": classes[best],
                "class": best,
                "confidence": float(confidence),
                "probabilities": probabilities.tolist(),
                "abstain": abstain,
            }
            for best, confidence, probabilities, abstain in zip(
                answered.best.tolist(),
                answered.confidence,
                answered.probabilities,
                answered.abstain.tolist(),
                strict=True,
            )
        ]
        document = {
            "id": answered.id,
            "version": answered.version,
            "log": answered.log,
            "alarm": answered.alarm,
        }
        if answered.state is not None:
            document["state"] = answered.state
        return Response(
            orjson.dumps({**document, "predictions": predictions}), media_type="application/json"
        )
