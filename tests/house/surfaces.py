"""What others rely on, as text: the OpenAPI document, the settings, the metrics. `make surfaces`
writes it beside this file.

A change shows as a difference of these files in review, and asks for a line in CHANGELOG.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from pydantic_settings import BaseSettings

from acclimate.settings import ClientSettings, Settings
from service.app import build
from service.learning_metrics import families
from service.metrics import ServingMetrics
from workers import metrics as worker_metrics

FOLDER = Path(__file__).parent / "surfaces"


def surfaces() -> dict[str, str]:
    """The text of every surface by its file's name."""
    found = {
        "openapi.json": build(Settings(home=Path("nowhere"))).openapi(),
        "settings.json": _settings(),
        "metrics.json": _metrics(),
    }
    return {
        name: json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        for name, content in found.items()
    }


def _settings() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    kinds: tuple[type[BaseSettings], ...] = (Settings, ClientSettings)
    for kind in kinds:
        for name, field in kind.model_fields.items():
            bounds = "".join(f", {bound}" for bound in field.metadata)
            found[f"{kind.__name__}: ACCLIMATE_{name.upper()}"] = {
                "type": _type(field.annotation) + bounds,
                "default": repr(field.default),
                "meaning": " ".join((field.description or "").split()),
            }
    return found


def _type(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _metrics() -> dict[str, dict[str, Any]]:
    registry: Any = ServingMetrics().registry
    assert isinstance(registry, CollectorRegistry)
    serving = list(registry._collector_to_names)
    served = {
        metric._name: (metric._type, metric._labelnames, metric._documentation)
        for metric in serving
    }
    learned = {
        metric.name: (metric.type, metric._labelnames, metric.documentation)
        for metric in families().values()
    }
    tasks = worker_metrics._tasks()
    worked = {tasks._name: (tasks._type, tasks._labelnames, tasks._documentation)}
    found = {"api": served | learned, "worker": worked}
    return {
        process: {
            name + ("_total" if kind == "counter" else ""): {
                "type": kind,
                "labels": list(labels),
                "help": help,
            }
            for name, (kind, labels, help) in metrics.items()
        }
        for process, metrics in found.items()
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in surfaces().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
