"""Every panel of the Grafana dashboard shows something: a real Prometheus scrapes a real
service that has learnt a window.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from digits_model import create, learn, send, window
from running import Service, free_port, wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NAME = "dashboard"
SEEN_ELSEWHERE = ("running_state", "pseudo_label_error_ratio")
"""Absent while plain versions serve and nobody labelled; tests/service/test_running_state.py and
test_label_snapshot_over_http.py do.
"""


def expressions() -> list[str]:
    """The queries of all panels, for the model of this test and a short range."""
    found: list[str] = []
    for path in sorted((ROOT / "monitoring" / "grafana").rglob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            found += [target["expr"] for target in panel.get("targets", ())]
    assert len(found) >= 8
    found = [
        expression for expression in found if not any(name in expression for name in SEEN_ELSEWHERE)
    ]
    replace = {
        "$__rate_interval": "15s",
        "$__range": "1m",
        "$__interval": "15s",
        "$model": NAME,
        "${model:regex}": NAME,
    }
    for old, new in replace.items():
        found = [expression.replace(old, new) for expression in found]
    return found


@pytest.fixture(scope="module")
def prometheus(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that scrapes the service every second."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not installed (Debian's package prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    address = f"127.0.0.1:{free_port()}"
    job = {"job_name": "acclimate", "authorization": {"credentials": service.key}}
    job |= {"static_configs": [{"targets": [service.url.removeprefix("http://")]}]}
    configuration = {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # YAML holds JSON
    command = [
        binary,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
    ]
    process = subprocess.Popen(
        [*command, f"--web.listen-address={address}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://{address}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_no_panel_stayed_empty_while_a_window_was_served_and_learnt(service, prometheus):
    started = time.time()
    shown: set[str] = set()

    def shown_all() -> bool:
        send(http, NAME, window(2)[0][:10])
        http.post(f"/api/v1/models/{NAME}/predict", json={"rows": []})
        for expression in set(expressions()) - shown:
            query = {"query": expression, "start": started, "end": time.time(), "step": "1s"}
            reply = httpx.get(f"{prometheus}/api/v1/query_range", params=query).json()
            assert reply["status"] == "success", (expression, reply)
            if reply["data"]["result"]:
                shown.add(expression)
        return shown >= set(expressions())

    with service.http() as http:
        create(http, NAME)
        send(http, NAME, window(1)[0])
        learn(http, NAME)
        with contextlib.suppress(AssertionError):
            wait_for(shown_all, 40)
    assert set(expressions()) - shown == set()
