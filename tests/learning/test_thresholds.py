"""The table of decision limits: complete, documented, and every rule has a test without it."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module

import pytest
from rules_off import TESTED, without

from acclimate.learning.documented import describe
from acclimate.learning.thresholds import DEFAULT, GATES, RULES, Thresholds


def test_every_rule_and_gate_is_switched_off_by_a_test():
    tests = ("test_rules_of_drift", "test_rules_of_rows", "test_rules_of_versions")
    for name in tests:
        import_module(name)
    assert set(RULES) | set(GATES) == TESTED


def test_an_unknown_rule_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="unknown rule 'isolatd'; known: ") as error:
        without("isolatd")
    assert all(name in str(error.value) for name in (*RULES, *GATES))


@pytest.mark.parametrize("name", [each.name for each in fields(Thresholds) if each.name != "off"])
def test_every_limit_has_unit_purpose_and_source(name):
    known = next(each.metadata for each in fields(Thresholds) if each.name == name)
    assert set(known) == {"unit", "protects", "source"}
    assert all(isinstance(text, str) and text for text in known.values())


def test_the_document_lists_every_limit_with_its_value():
    changed = Thresholds(gate_errors=2.5)
    listed = describe(changed)
    expected = [each.name for each in fields(Thresholds) if each.name != "off"]
    assert [each["name"] for each in listed] == expected
    assert all(set(each) == {"name", "value", "unit", "protects", "source"} for each in listed)
    assert {each["name"]: each["value"] for each in listed}["gate_errors"] == 2.5


def test_limits_as_json_hold_every_value_and_the_rules_that_are_off():
    kept = Thresholds(off=frozenset({"scale", "layers"}), label_rows=11).as_json()
    assert set(kept) == {each.name for each in fields(Thresholds)}
    assert kept["off"] == ["layers", "scale"]
    assert kept["label_rows"] == 11


def test_a_rule_applies_unless_it_is_off():
    assert all(DEFAULT.on(rule) for rule in (*RULES, *GATES))
    assert not without("scale").on("scale")
    assert without("scale").on("layers")
