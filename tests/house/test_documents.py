"""The documents point only at what is there."""

from __future__ import annotations

import re
from pathlib import Path

import house_rules as rules
import pytest
from house_rules import ROOT

DOCUMENTS = [path for path in rules.project_files() if path.endswith(".md")]


def anchors(markdown: str) -> set[str]:
    """The anchors that a page's headings have."""
    headings = re.findall(r"^#+ (.+)$", markdown, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def dead_links(document: Path) -> list[str]:
    dead = []
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", document.read_text()):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            dead.append(f"{document.name}: {link}")
    return dead


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_of_a_document_leads_somewhere(document: str) -> None:
    assert dead_links(ROOT / document) == []


def test_a_link_to_an_absent_file_or_heading_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](#here) [b](#there) [c](absent.md) [d](page.md#here)")
    assert dead_links(page) == ["page.md: #there", "page.md: absent.md"]


def test_the_glossary_has_every_stage_and_every_reason_for_refusal() -> None:
    from acclimate.learning.values import STAGES

    glossary = (ROOT / "docs/glossary.md").read_text()
    assert [word for word in (*STAGES, "low_confidence", "disagreement", "duplicate") if word not in glossary] == []
