"""Completes FastAPI's OpenAPI document: the refusals of each route, and the bodies and replies that
are not declared by types.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.errors import TITLES

Json = dict[str, Any]

PROBLEM: Json = {
    "type": "object",
    "description": "The problem, its position and what is expected (RFC 9457).",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "enum": [f"/problems/{slug}" for slug in TITLES]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": ["string", "null"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
INFERENCE_ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
    "additionalProperties": False,
}
TENSOR: Json = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"const": "input"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"enum": ["FP32", "FP64", "UINT8", "INT32", "INT64", "BYTES"]},
        "data": {"type": "array", "minItems": 1, "items": {}},
    },
}
NAME: Json = {"type": "string", "minLength": 1, "maxLength": 128}
INFER: Json = {
    "type": "object",
    "required": ["inputs"],
    "additionalProperties": False,
    "properties": {
        "id": NAME,
        "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": TENSOR},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"enum": ["probabilities", "label", "class", "confidence", "abstain"]}
                },
            },
        },
        "parameters": {
            "type": "object",
            "properties": {"log": {"type": "boolean"}, "subject": NAME, "state": NAME},
        },
    },
}
PREDICT: Json = {
    "type": "object",
    "required": ["rows"],
    "additionalProperties": False,
    "properties": {
        "rows": {"type": "array", "minItems": 1, "items": {"type": ["array", "string"]}},
        "log": {"type": "boolean"},
        "subject": NAME,
    },
}
LABELS: Json = {
    "type": "array",
    "maxItems": 10_000,
    "items": {
        "type": "object",
        "required": ["prediction_id", "row"],
        "oneOf": [{"required": ["label"]}, {"required": ["right"]}],
        "additionalProperties": False,
        "properties": {
            "prediction_id": NAME,
            "row": {"type": "integer", "minimum": 0},
            "label": {
                "type": ["string", "integer", "null"],
                "description": "null: none of the classes",
            },
            "right": {
                "type": "boolean",
                "description": "instead of label: whether the label of the answer was right",
            },
            "source": {"type": "string", "minLength": 1, "maxLength": 63},
            "label_time": {
                "type": "string",
                "format": "date-time",
                "description": "when the label was known; not in the future",
            },
        },
    },
}
MODEL: Json = {
    "type": "object",
    "required": ["spec", "seed"],
    "properties": {
        name: {"type": "string", "format": "binary"} for name in ("spec", "seed", "weights")
    },
}
BODIES: dict[str, tuple[str, Json]] = {
    "predict": ("application/json", PREDICT),
    "infer": ("application/json", INFER),
    "infer_version": ("application/json", INFER),
    "give_feedback": ("application/json", LABELS),
    "create_model": ("multipart/form-data", MODEL),
}
"""Media type and schema of the body, for operations that read it themselves."""
ANSWERS = {
    "list_rows": "application/x-ndjson",
    "get_run_logs": "application/x-ndjson",
    "follow_run": "text/event-stream",
    "metrics": "text/plain",
    "get_label_queue": "application/json",
}
"""Media type of the reply, for operations that write it themselves."""
OPEN = ("live", "ready")
ANY_ROUTE = (401, 403, 503)
NAMED = (404,)
CHANGING = (409,)
WITH_BODY = (400, 408, 413, 415, 422)
OWN = {
    "predict": (429,),
    "infer": (429,),
    "infer_version": (429,),
    "give_feedback": (429,),
    "follow_run": (400,),
    "set_alias": (412, 428),
    "set_policy": (412, 428),
    "set_gates": (412, 428),
}
"""Status codes that only these operations have."""


def describe(app: FastAPI) -> Json:
    """The OpenAPI document of the app: FastAPI's, with refusals, bodies, media types and keys."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        parts = document["components"]
        parts["schemas"] |= {"Problem": PROBLEM, "InferenceError": INFERENCE_ERROR}
        for unused in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(unused, None)
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _complete(operation, path, method)
        app.openapi_schema = document
    return app.openapi_schema


def _complete(operation: Json, path: str, method: str) -> None:
    name = operation["operationId"]
    answers = operation["responses"]
    answers.pop("422", None)
    if name in BODIES:
        media_type, schema = BODIES[name]
        operation["requestBody"] = {"required": True, "content": {media_type: {"schema": schema}}}
    if name in ANSWERS:
        schema = {} if ANSWERS[name] == "application/json" else {"type": "string"}
        answers["200"]["content"] = {ANSWERS[name]: {"schema": schema}}
    if name == "start_run":
        plan = {"application/json": {"schema": {"type": "object"}}}
        answers["200"] = {
            "description": "With dry_run: the plan of the run; nothing was started",
            "content": plan,
        }
    if name in OPEN:
        return
    operation["security"] = [{"key": []}]
    for status in sorted(_refusals(operation, name, path, method)):
        answers[str(status)] = _refusal(status, path)


def _refusals(operation: Json, name: str, path: str, method: str) -> set[int]:
    found = {*ANY_ROUTE, *OWN.get(name, ())}
    found |= set(NAMED) if "{" in path or name == "list_runs" else set()
    found |= set(CHANGING) if method != "get" else set()
    found |= set(WITH_BODY) if "requestBody" in operation else set()
    found |= (
        {422}
        if any(parameter["in"] != "path" for parameter in operation.get("parameters", ()))
        else set()
    )
    if path.startswith("/v2"):
        found = {400 if status == 422 else status for status in found}
    return found


def _refusal(status: int, path: str) -> Json:
    titles = [title for code, title in TITLES.values() if code == status]
    inference = path.startswith("/v2")
    media_type, schema = (
        ("application/json", "InferenceError")
        if inference
        else ("application/problem+json", "Problem")
    )
    content = {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": "; ".join(titles), "content": content}
