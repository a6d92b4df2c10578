"""The format of printed values."""

from __future__ import annotations

import pytest

from acclimate.cli import output


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (4.24, "4.2 s"),
        (59.4, "59 s"),
        (59.6, "1 m 0 s"),
        (195, "3 m 15 s"),
        (7500, "2 h 5 m"),
        (273_600, "3 d 4 h"),
        (None, None),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds, text):
    assert output.duration(seconds) == text


def test_a_run_that_ended_took_the_time_between_start_and_end():
    run = {
        "created_at": "2026-11-24T06:00:00Z",
        "started_at": "2026-11-24T06:00:10.500Z",
        "ended_at": "2026-11-24T06:03:25.500Z",
    }
    assert output.elapsed(run) == "3 m 15 s"


def test_nothing_is_a_dash_and_false_is_not_nothing():
    assert [
        str(output.cell(value))
        for value in (None, "", [], False, 0, 0.03125, ["w-1", "w-2"], {"disagreement": 3})
    ] == [
        "–",
        "–",
        "–",
        "no",
        "0",
        "0.03125",
        "w-1, w-2",
        "disagreement 3",
    ]


def test_a_rejected_run_is_not_shown_as_a_fault():
    assert output.cell("rejected").style == ""
    assert output.cell("failed").style == "bold red"


def test_a_path_through_something_absent_picks_nothing():
    assert output.pick({"window": None, "state": "queued"}, "state", "window.rows", "absent") == [
        "queued",
        None,
        None,
    ]


def test_a_table_off_a_terminal_is_as_wide_as_its_text(capsys):
    long = "because " * 30
    output.print_table(output.table(None, ("run", "detail"), [("r1", long.strip())]))
    assert long.strip() in capsys.readouterr().out
