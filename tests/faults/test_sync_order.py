"""What the kernel is asked, in its order: rows are written, made durable, and only then told. No
kill -9 could show it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import recording

LINE = re.compile(r"(?P<thread>\d+) +(?:<\.\.\. )?(?P<call>\w+)(?P<rest>.*)", re.DOTALL)
TOLD = re.compile(r'"(?P<id>[0-9a-f]{16}) \d+\\n"')
WINDOWS = re.compile(r"(?=([0-9a-f]{16}))")
"""Everything that may be an id: in a column they follow one another without a gap."""


@dataclass
class Order:
    """What a trace says, read line by line: which ids were told before a sync that began after they
    were written had ended.
    """

    written: set[str] = field(default_factory=set)
    """By a write that has ended."""
    durable: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    too_early: list[str] = field(default_factory=list)
    _begun: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """By thread and call: what an unfinished call holds."""

    def read(self, line: str) -> None:
        found = LINE.match(line)
        if found is None:
            return
        thread, call, rest = found["thread"], found["call"], found["rest"]
        if call == "write" and (told := TOLD.search(rest)):
            # The call has begun: whoever reads the pipe may know it from here on.
            self.told.append(told["id"])
            self.too_early += [told["id"]] if told["id"] not in self.durable else []
        if call not in ("pwrite64", "fdatasync"):
            return
        resumed = " resumed>" in rest
        if not resumed and ".arrow>" not in rest:
            return
        held = self._begun.pop((thread, call), None) if resumed else None
        if held is None:
            held = set(WINDOWS.findall(rest)) if call == "pwrite64" else set(self.written)
        if "<unfinished ...>" in rest:
            self._begun[thread, call] = held
        elif re.search(r"= \d+$", rest.rstrip()):
            (self.written if call == "pwrite64" else self.durable).update(held)


def trace(folder: Path, durability: str, *, seconds: float = 3.0) -> Order:
    """What a recording process asked of the kernel while it ran for so long."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    log = folder / "trace"
    command = [
        strace,
        "-f",
        "-y",
        "-s",
        "200000",
        "-e",
        "trace=pwrite64,write,fdatasync",
        "-o",
        str(log),
    ]
    command += [sys.executable, recording.__file__, str(folder), durability]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if not process.stdout.readline():
            pytest.skip(f"strace may not trace here: {process.stderr.read().decode()[-200:]}")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            process.stdout.readline()
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.communicate()
    order = Order()
    for line in log.read_text(errors="replace").splitlines():
        order.read(line)
    return order


def test_nobody_is_told_before_the_rows_are_durable(tmp_path, drill):
    order = trace(tmp_path, "fsync")
    done = (
        f"strace of the recorder: {len(order.too_early)} of {len(order.told)} told before "
        f"their fdatasync ended"
    )
    drill.note(
        "2 sync before answer",
        done,
        acknowledged=len(order.told),
        found=len(set(order.told) & order.durable),
    )
    assert len(order.told) > 50
    assert order.too_early == []


def test_the_trace_would_show_an_answer_that_comes_before_the_sync(tmp_path):
    order = trace(tmp_path, "os")
    assert len(order.told) > 50
    assert len(order.too_early) > 0.5 * len(order.told)
    assert set(order.told) <= order.written | {order.told[-1]}
