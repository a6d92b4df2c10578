"""`audit` lists the audit log, `audit verify` verifies it."""

from __future__ import annotations

import json

import pytest

HASH = "ab" * 32
WHOLE = {"intact": True, "entries": 7, "head": HASH, "broken": None, "seen": True}


def test_the_bare_word_lists(acclimate, service, answer):
    entry = {
        "at": "2026-11-24T07:00:00.000Z",
        "actor": "anna",
        "action": "run.start",
        "target": "gas",
        "content": {},
    }
    service.on("GET /api/v1/audit", answer(200, {"items": [entry], "next_page_token": None}))
    assert "run.start" in acclimate("audit", "--url", service.url).out
    assert json.loads(acclimate("audit", "list", "--json", "--url", service.url).out)["items"] == [
        entry
    ]


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        (WHOLE, 0, f"7 entries, none changed; head {HASH}"),
        ({**WHOLE, "intact": False, "broken": 3}, 1, "entry 3 was changed, or does not follow"),
        (
            {**WHOLE, "intact": False, "seen": False},
            1,
            "entries were removed, or the log was rewritten",
        ),
    ],
)
def test_a_log_that_is_not_whole_ends_with_1(acclimate, service, answer, found, code, said):
    service.on("GET /api/v1/audit/verify", answer(200, found))
    ended = acclimate("audit", "verify", "--expect", HASH, "--url", service.url)
    assert (ended.code, said in ended.out) == (code, True)
    assert service.requests[-1].query == f"expect={HASH}"
    assert json.loads(acclimate("audit", "verify", "--json", "--url", service.url).out) == found
