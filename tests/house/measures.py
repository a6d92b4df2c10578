"""`python tests/house/measures.py [ROOT]`: how the product's code reads, in figures.

Tokens a line and a function, parameters, numeric constants of learning outside its thresholds,
words of the glossary.
"""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

PRODUCT = ("acclimate", "service", "workers")
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def main(root: Path) -> None:
    files = [path for part in PRODUCT for path in sorted((root / part).rglob("*.py"))]
    a_line: list[int] = []
    a_function: list[int] = []
    lengths: list[int] = []
    parameters: list[int] = []
    for path in files:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        by_line = tokens_by_line(text, docstring_lines(tree))
        a_line += by_line.values()
        for node in functions(tree):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            a_function.append(sum(by_line.get(line, 0) for line in lines))
            lengths.append(sum(line in by_line for line in lines))
            arguments = node.args
            every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
            parameters.append(len([each for each in every if each.arg not in ("self", "cls")]))
    print(f"files {len(files)}, functions {len(a_function)}, lines of code {len(a_line)}")
    print(f"tokens a line: {spread(a_line)}")
    print(f"tokens a function: {spread(a_function)}; lines: {spread(lengths)}")
    more = {limit: sum(count > limit for count in parameters) for limit in (5, 8)}
    print(f"parameters: {spread(parameters)}; above 5: {more[5]}, above 8: {more[8]}")
    print(f"files directly in acclimate/learning: {len(list((root / LEARNING).glob('*.py'))) - 1}")
    print(f"numeric constants in learning outside thresholds.py: {len(constants(root))}")
    glossary = root / "docs" / "glossary.md"
    rows = [line for line in glossary.read_text().splitlines() if line.startswith("| **")]
    print(f"glossary: {len(rows)} words")


LEARNING = Path("acclimate/learning")


def constants(root: Path) -> list[str]:
    """Names at module level of learning that hold numbers, outside thresholds.py."""
    found = []
    for path in sorted((root / LEARNING).rglob("*.py")):
        if path.name == "thresholds.py":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if targets and any(
                isinstance(each, ast.Constant) and is_number(each.value)
                for each in ast.walk(node.value)
            ):
                names = [
                    each.id
                    for target in targets
                    for each in ast.walk(target)
                    if isinstance(each, ast.Name)
                ]
                found += [f"{path.name}: {name}" for name in names if name.isupper()]
    return found


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def docstring_lines(tree: ast.AST) -> set[int]:
    """Lines of strings that stand alone: docstrings of anything."""
    alone = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    return {line for node in alone for line in range(node.lineno, (node.end_lineno or 0) + 1)}


def tokens_by_line(text: str, without: set[int]) -> dict[int, int]:
    """The number of tokens on each line of code."""
    found: dict[int, int] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type not in LAYOUT and line not in without:
            found[line] = found.get(line, 0) + 1
    return found


def spread(values: list[int]) -> str:
    ordered = sorted(values)
    p95 = ordered[int(0.95 * (len(ordered) - 1))]
    return f"median {statistics.median(ordered):g}, mean {statistics.mean(ordered):.1f}, p95 {p95}"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2])
