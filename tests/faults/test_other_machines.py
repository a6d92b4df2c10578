"""A machine that shares database and store with others: what they erase leaves its disk too."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from digits_model import create, learn, rows, stream
from running import Service, contents, free_port, process, wait_for

HERS = "ann-4711"


@pytest.mark.drill
def test_erased_rows_leave_copies_elsewhere(short_folder, tmp_path, database_address, drill):
    """Through fsspec, as a store on S3 is, so that each machine keeps copies."""
    shared = {
        "ACCLIMATE_DATABASE_URL": database_address,
        "ACCLIMATE_STORE_URL": f"local://{tmp_path / 'store'}",
    }
    kind = database_address.partition(":")[0]
    service = Service(home=short_folder / f"machines-{kind}", environment=shared).start()
    port = free_port()
    own = {
        "ACCLIMATE_HOME": str(tmp_path / "other"),
        "ACCLIMATE_PORT": str(port),
        "ACCLIMATE_REPLICA": "api-7",
    }
    own["ACCLIMATE_BROKER_URL"] = (
        f"redis+socket://{service.home / 'run' / 'broker.sock'}?virtual_host=0"
    )

    def copied() -> list[Path]:
        return [
            path
            for path, content in contents(tmp_path / "other" / "cache")
            if HERS.encode() in content
        ]

    with service.http() as http, process("serve", tmp_path / "other.log", shared | own):
        create(http, "shared")
        for subject in (HERS, "bob"):
            body = {"rows": stream()[0][:100].tolist(), "subject": subject}
            assert http.post("/api/v1/models/shared/predict", json=body).status_code == 200
        learn(http, "shared")
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=http.headers, timeout=60
        ) as other:
            wait_for(lambda: _answers(other))
            assert len(rows(other, "shared")) == 200
            assert copied(), "the other machine has a copy of her rows"
            assert http.delete(f"/api/v1/models/shared/subjects/{HERS}").status_code == 200
            erased = time.monotonic()
            wait_for(lambda: not copied(), 90)
            seconds = time.monotonic() - erased
            assert len(rows(other, "shared")) == 100
    assert service.stop() == 0, service.logs()
    drill.note(
        "40 erase", f"{kind}: gone from another machine's disk {seconds:.0f} s later", found=100
    )


def _answers(other: httpx.Client) -> bool:
    try:
        return other.get("/v2/models/shared/ready").status_code == 200
    except httpx.TransportError:
        return False
