"""The log of an attempt: the trainer's own lines, whole, and a store that fails."""

from __future__ import annotations

import json
import subprocess
import sys

from acclimate.storage.runs.run_logs import RunLogs
from acclimate.storage.runs.runs import Claim
from acclimate.storage.store import Store, StoreError
from workers.run import AttemptLog, follow_log

CLAIM = Claim(run_id="01K", token=1, attempt=2)
SAYS = """
import os, signal, sys
print('{"event": "one"}', file=sys.stderr, flush=True)
print("a row of text that a network printed", file=sys.stderr, flush=True)
sys.stderr.write('{"event": "tw'); sys.stderr.flush()
sys.stderr.write('o"}\\\\n{"event": "half'); sys.stderr.flush()
os.kill(os.getpid(), signal.SIGKILL)
""".replace("\\\\n", "\\n")


def run(log: AttemptLog) -> int:
    process = subprocess.Popen([sys.executable, "-c", SAYS], stderr=subprocess.PIPE)
    follow_log(process, log, lambda: None)
    code = process.wait()
    log.end(code)
    return code


def test_the_whole_lines_of_a_killed_trainer_are_kept_and_nothing_that_a_network_printed(tmp_path):
    logs = RunLogs(Store(f"file://{tmp_path}", tmp_path / "cache"))
    assert run(AttemptLog(logs, CLAIM)) == -9
    lines = [json.loads(line) for line in logs.read("01K", 2).splitlines()]
    assert [line["event"] for line in lines] == ["one", "two", "the trainer died"]
    assert (lines[-1]["attempt"], lines[-1]["code"], lines[-1]["level"]) == (2, -9, "error")
    assert lines[-1]["timestamp"].endswith("Z")


def test_a_store_that_fails_costs_the_log_and_not_the_run(tmp_path):
    class Full(RunLogs):
        def write(self, run_id: str, attempt: int, lines: bytes) -> None:
            raise StoreError("no room")

    assert run(AttemptLog(Full(Store(f"file://{tmp_path}", tmp_path / "cache")), CLAIM)) == -9


def test_a_traceback_in_the_log_holds_no_local_variables(tmp_path):
    code = """
import structlog
from acclimate.logs import configure
configure("INFO", run="01K", attempt=1)
def learn(rows):
    raise ValueError("it broke")
try:
    learn(["my secret row"])
except ValueError:
    structlog.get_logger().exception("run failed")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    line = json.loads(done.stderr)
    assert (line["event"], line["attempt"], line["exception"][0]["exc_value"]) == (
        "run failed",
        1,
        "it broke",
    )
    assert [frame["name"] for frame in line["exception"][0]["frames"]] == ["<module>", "learn"]
    assert "secret" not in done.stderr.replace('learn(["my secret row"])', "")
