"""The rules of the house that no linter knows, each a function from one source file to the
places that break it.
"""

from __future__ import annotations

import ast
import builtins
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
PRODUCT = ("acclimate", "service", "workers", "migrations")
FILE_LINES = 400
FUNCTION_LINES = 50
REASON = re.compile(r"#\s*long:\s*\S")
FORBIDDEN_WORDS = {
    form
    for word in ("manager", "helper", "util", "base", "common", "misc")
    for form in (word, word + "s")
}
MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:work|root|home|Users)/[\w.-]+")
PICKLERS = ("pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
CLOCKS = (
    "time",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
)
DISKS = (
    *(
        "open",
        "io",
        "os",
        "pathlib",
        "shutil",
        "tempfile",
        "safetensors",
        "fsspec",
        "torch.save",
        "torch.load",
    ),
    *(
        f"numpy.{verb}"
        for verb in (
            "load",
            "save",
            "savez",
            "savez_compressed",
            "loadtxt",
            "savetxt",
            "fromfile",
            "memmap",
        )
    ),
)
GLOBAL_SEEDS = (
    *(
        "random",
        "torch.manual_seed",
        "torch.seed",
        "torch.random",
        "torch.set_rng_state",
        "torch.default_generator",
    ),
    *(
        "torch.cuda.manual_seed",
        "torch.cuda.manual_seed_all",
        "torch.cuda.seed",
        "torch.cuda.seed_all",
    ),
)
OWN_GENERATORS = (
    "Generator",
    "default_rng",
    "SeedSequence",
    "BitGenerator",
    "PCG64",
    "PCG64DXSM",
    "Philox",
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of the project: its path relative to the root, with slashes, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    def at(self, line: int, what: str) -> str:
        return f"{self.path}:{line}: {what}"


@cache
def project_files() -> list[str]:
    """Every file that is or is about to be committed; without git, every file outside
    hidden folders.
    """
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode == 0:
        return sorted(path for path in set(listing.stdout.splitlines()) if (ROOT / path).is_file())
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return sorted(
        path.as_posix()
        for path in found
        if not any(part.startswith(".") for part in path.parts[:-1])
    )


@cache
def read(path: str) -> Source:
    return Source(path=path, text=(ROOT / path).read_text(encoding="utf-8"))


def python_sources(*folders: str) -> list[Source]:
    """The Python files below the folders, or all of them."""
    paths = (path for path in project_files() if path.endswith(".py"))
    return [
        read(path)
        for path in paths
        if not folders or path.startswith(tuple(f"{folder}/" for folder in folders))
    ]


def uses(source: Source) -> Iterator[tuple[int, str, ast.AST]]:
    """Every imported thing and every name that stands for one, in full: `np.random.seed` is
    `numpy.random.seed`.
    """
    tree = source.tree
    full = {name: name for name in vars(builtins)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                full[alias.asname or root] = alias.name if alias.asname else root
                yield node.lineno, alias.name, node
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node.lineno, f"{node.module}.{alias.name}", node
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and (name := _dotted(node, full)):
            yield node.lineno, name, node


def _dotted(node: ast.AST, full: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return full.get(node.id)
    if isinstance(node, ast.Attribute) and (front := _dotted(node.value, full)):
        return f"{front}.{node.attr}"
    return None


def _within(name: str, families: tuple[str, ...]) -> bool:
    return any(name == family or name.startswith(family + ".") for family in families)


def _found(source: Source, families: tuple[str, ...], why: str) -> list[str]:
    hits = sorted({(line, name) for line, name, _ in uses(source) if _within(name, families)})
    return [source.at(line, f"{name}: {why}") for line, name in hits]


def environment(source: Source) -> list[str]:
    families = ("os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv")
    return _found(source, families, "only acclimate/settings.py reads the environment")


def clocks(source: Source) -> list[str]:
    return _found(source, CLOCKS, "learning is told the time, it never asks")


def disks(source: Source) -> list[str]:
    verbs = ("read_text", "write_text", "read_bytes", "write_bytes", "tofile")
    methods = [
        source.at(node.lineno, f".{node.attr}: learning touches no file")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and node.attr in verbs
    ]
    return _found(source, DISKS, "learning touches no file") + methods


def global_seeds(source: Source) -> list[str]:
    found = _found(source, GLOBAL_SEEDS, "learning draws from the generator it is given")
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.Call)
            and not node.args
            and not node.keywords
            and _ends(node.func) == "default_rng"
        ):
            found.append(source.at(node.lineno, "default_rng(): a generator needs a seed"))
    for line, name, _ in uses(source):
        parts = name.split(".")
        if parts[:2] == ["numpy", "random"] and len(parts) > 2 and parts[2] not in OWN_GENERATORS:
            found.append(source.at(line, f"{name}: numpy's global generator"))
    return found


def unsafe_loading(source: Source) -> list[str]:
    found = _found(
        source,
        (*PICKLERS, "torch.load", "torch.save"),
        "runs whatever the file says; use safetensors",
    )
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and getattr(node.value, "value", True)
        ):
            found.append(source.at(node.value.lineno, "allow_pickle: runs whatever the file says"))
    return found


def commits(source: Source) -> list[str]:
    return [
        source.at(node.lineno, "commit(): transactions end in acclimate/storage/database.py alone")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and _ends(node.func) == "commit"
    ]


def _ends(node: ast.expr) -> str | None:
    return (
        node.attr
        if isinstance(node, ast.Attribute)
        else node.id
        if isinstance(node, ast.Name)
        else None
    )


def long_files(source: Source) -> list[str]:
    lines = source.text.count("\n")
    return (
        [source.at(lines, f"{lines} lines, {FILE_LINES} at most: split the noun")]
        if lines > FILE_LINES
        else []
    )


def wrapped_signatures(source: Source) -> list[str]:
    """Tests whose signature does not fit a line. Fixtures are not annotated there."""
    return [
        source.at(node.lineno, f"the signature of {node.name} takes more than a line: shorten it")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_")
        if not source.text.splitlines()[node.lineno - 1].endswith(":")
    ]


def long_functions(source: Source) -> list[str]:
    """Functions of more than 50 lines, docstring not counted, unless `# long: REASON`
    stands on or above the `def`.
    """
    reasons = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline)
        if token.type == tokenize.COMMENT and REASON.match(token.string)
    }
    found = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (node.end_lineno or 0) - node.lineno + 1
            if body is not node.body:
                lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
            if lines > FUNCTION_LINES and not reasons & set(range(first, node.body[0].lineno)):
                found.append(
                    source.at(
                        node.lineno,
                        f"{node.name} has {lines} lines: split it, or say `# long: why` above it",
                    )
                )
    return found


def vague_files(path: str) -> list[str]:
    """Parts of a path that say nothing about what is inside."""
    parts = [PurePosixPath(part).stem for part in PurePosixPath(path).parts]
    vague = [part for part in parts if FORBIDDEN_WORDS & set(re.split(r"[_.-]", part.lower()))]
    return [f"{path}: {part!r} does not say what it is" for part in vague]


def vague_classes(source: Source) -> list[str]:
    return [
        source.at(node.lineno, f"class {node.name} does not say what it is")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
        and FORBIDDEN_WORDS
        & {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", node.name)}
    ]


def full_init_files(source: Source) -> list[str]:
    is_init = PurePosixPath(source.path).name == "__init__.py"
    return [source.at(1, "an __init__ stays empty")] if is_init and source.text.strip() else []


def machine_paths(source: Source) -> list[str]:
    lines = enumerate(source.text.splitlines(), 1)
    return [
        source.at(number, f"{hit[0]}: a path of one machine")
        for number, line in lines
        if (hit := MACHINE_PATH.search(line))
    ]
