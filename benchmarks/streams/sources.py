"""Which code a cell hangs on: a module and everything of ours that it imports, as one digest."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = ("acclimate.learning", "benchmarks.streams", "benchmarks.mechanisms")
WORDS = "DEFINITIONS"
"""What streams are called and described as is no part of a result: a change of words must not throw
away a day of cells.
"""


def digest(modules: Iterable[str]) -> str:
    """Of the code of these modules and of all modules of learning and of this benchmark that they
    import, in turn.
    """
    found = sorted(closure(frozenset(modules)))
    parts = (f"{module}\n{_tree(module)}" for module in found)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@functools.cache
def closure(modules: frozenset[str]) -> frozenset[str]:
    """These modules of ours and all that they import, also for types alone."""
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in seen or not module.startswith(OURS) or _path(module) is None:
            continue
        seen.add(module)
        for node in ast.walk(ast.parse(_text(module))):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
    return frozenset(seen)


@functools.cache
def _tree(module: str) -> str:
    """The code without comments, docstrings and layout: what can change a result."""
    tree = ast.parse(_text(module))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [each for each in body if not _said(each)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _said(node: ast.stmt) -> bool:
    """A docstring, or the list of definitions."""
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id == WORDS for target in node.targets)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _text(module: str) -> str:
    path = _path(module)
    assert path is not None
    return path.read_text(encoding="utf-8")


def _path(module: str) -> Path | None:
    plain = ROOT.joinpath(*module.split("."))
    for path in (plain.with_suffix(".py"), plain / "__init__.py"):
        if path.is_file():
            return path
    return None
