"""The documents point only at what is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import house_rules as rules
import pytest
from house_rules import ROOT
from typer.main import get_command

from acclimate.cli.app import build
from acclimate.learning.results import STAGES

DOCUMENTS = [path for path in rules.project_files() if path.endswith(".md")]
GUIDES = sorted(path for path in DOCUMENTS if path.startswith("docs/how-to/"))


def anchors(markdown: str) -> set[str]:
    """The anchors that a page's headings have."""
    headings = re.findall(r"^#+ (.+)$", markdown, flags=re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def dead_links(document: Path) -> list[str]:
    dead = []
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", document.read_text()):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            dead.append(f"{document.name}: {link}")
    return dead


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_of_a_document_leads_somewhere(document):
    assert dead_links(ROOT / document) == []


def test_a_link_to_an_absent_file_or_heading_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](#here) [b](#there) [c](absent.md) [d](page.md#here)")
    assert dead_links(page) == ["page.md: #there", "page.md: absent.md"]


def test_the_glossary_has_every_stage_and_every_reason_for_refusal():
    glossary = (ROOT / "docs/glossary.md").read_text()
    reasons = (
        "low_confidence",
        "disagreement",
        "duplicate",
        "few_senders",
        "isolated",
        "unvouched",
        "client_share",
    )
    assert [word for word in (*STAGES, *reasons) if word not in glossary] == []


def command_lines(markdown: str) -> list[str]:
    """The lines of a page's code blocks that call acclimate, without comments and redirections."""
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", markdown, flags=re.MULTILINE | re.DOTALL))
    lines = [line.split(" # ")[0].strip().rstrip("&").strip() for line in blocks.splitlines()]
    return [line for line in lines if line.startswith("acclimate ")]


def refused(line: str) -> str | None:
    """What the command line says against a line, without doing anything."""
    command: Any = get_command(build())
    words = shlex.split(line)[1:]
    try:
        context = command.make_context("acclimate", words)
        while hasattr(command, "commands"):
            _, command, words = command.resolve_command(
                context, [*context._protected_args, *context.args]
            )
            context = command.make_context(command.name, words, parent=context)
    except Exception as error:
        return f"{line}: {error}"
    return None


@pytest.mark.parametrize("document", ["README.md", "docs/operations.md", *GUIDES])
def test_every_command_that_a_document_tells_to_type_is_understood(document):
    lines = command_lines((ROOT / document).read_text())
    assert lines
    assert [said for line in lines if (said := refused(line))] == []


@pytest.mark.parametrize(
    "line",
    [
        "acclimate retrian gas",
        "acclimate retrain",
        "acclimate windows quarantine gas w-4 --because x",
    ],
)
def test_a_command_that_the_command_line_does_not_know_is_noticed(line):
    assert refused(line)
