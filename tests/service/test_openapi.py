"""The OpenAPI document matches the service: fuzzed requests get documented replies and no 500."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from running import Service
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from small_model import create

pytestmark = pytest.mark.slow

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
QUICK = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def fuzzed(short_folder: Path) -> Iterator[Service]:
    """A service of its own, since what is made of the document deletes, pauses and revokes."""
    service = Service(home=short_folder / "fuzzed").start()
    with service.http() as http:
        create(http, "x")
    yield service
    assert service.stop() == 0, service.logs()


@pytest.fixture(scope="module")
def api(fuzzed: Service) -> Any:
    found = schemathesis.openapi.from_url(f"{fuzzed.url}/openapi.json")
    # A name that exists, so that more than the way to 404 is tried.
    for operations in found.raw_schema["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if (parameter["in"], parameter["name"]) == ("path", "name"):
                    parameter["schema"] = {"enum": ["x", "gone"]}
                if parameter["name"] == "wait":
                    parameter["schema"] = {"enum": [0, 1]}
    return found


def test_no_answer_is_a_fault_or_undocumented(api, fuzzed):
    told, operations = [], [found.ok() for found in api.get_all_operations()]
    assert len(operations) > 45
    for operation in operations:

        @QUICK
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            case.call_and_validate(
                headers={"Authorization": f"Bearer {fuzzed.key}"}, checks=CHECKS, timeout=30
            )

        try:
            ask()
        except (Exception, BaseExceptionGroup) as error:
            reasons = getattr(error, "exceptions", (error,))
            told.append(f"{operation.label}: " + "; ".join(map(str, reasons)))
    assert told == [], "\n\n".join(told)


def test_no_sequence_of_requests_ends_in_a_fault(api, fuzzed):
    class Machine(api.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": {"Authorization": f"Bearer {fuzzed.key}"}, "timeout": 30}

        def validate_response(self, response: Any, case: Any, **options: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    Machine.run(settings=settings(QUICK, max_examples=10, stateful_step_count=6))
