"""Parses and validates SPEC.toml; every problem has its position and what is expected."""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from acclimate.learning.spec import (
    Gates,
    InputSpec,
    LogPolicy,
    ModelSpec,
    NetworkSpec,
    Policy,
    Problem,
)
from acclimate.learning.triggers import duration_seconds, schedule_problem

NETWORKS_OF = {
    "vector": ("mlp",),
    "image": ("mlp", "cnn"),
    "text": ("text",),
    "sequence": ("text",),
}
"""The built-in networks for each kind of input."""
BUILT_IN_NETWORKS = ("mlp", "cnn", "text")
AXES_OF = {"vector": (1,), "image": (2, 3), "text": (1,), "sequence": (1,)}
SMALLEST_IMAGE = 8
MOST_NUMBERS = 4_000_000
RECIPES = ("self_training",)
NAME = re.compile(r"[a-z0-9-]{1,63}")


class SpecError(ValueError):
    """The spec is not valid; `problems` lists every problem with its JSON pointer."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{problem.pointer}: {problem.detail}" for problem in problems))
        self.problems = problems


def parse(text: str, *, network_allowlist: tuple[str, ...] = ()) -> ModelSpec:
    """The `ModelSpec` in the TOML text.

    Args:
        network_allowlist: the networks of user modules, `module:function`, that are allowed.

    Raises `SpecError` with every problem found: unknown keys with the nearest known key, missing
    keys, wrong types, values out of range, networks that are neither built in nor allowed.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError([Problem("#", f"not TOML: {error}")]) from None
    reader = _Reader(document, network_allowlist)
    spec = reader.read()
    if reader.problems or spec is None:
        raise SpecError(reader.problems)
    return spec


def settings(kind: str, table: dict[str, Any]) -> Policy | Gates:
    """The policy or the gates in one table. Raises `SpecError` as `parse` does.

    Args:
        kind: `policy` or `gates`.
    """
    reader = _Reader({kind: table}, ())
    if kind == "policy":
        found: Policy | Gates = reader._settings("policy", Policy, reader._check_policy)
    else:
        found = reader._settings("gates", Gates, reader._check_gates)
    if reader.problems:
        raise SpecError(reader.problems)
    return found


class _Reader:
    """Reads one document and collects every problem in it."""

    def __init__(self, document: dict[str, Any], network_allowlist: tuple[str, ...]) -> None:
        self.document = document
        self.network_allowlist = network_allowlist
        self.problems: list[Problem] = []

    def read(self) -> ModelSpec | None:
        self._check_keys("", self.document, ("model", "input", "seed", "log", "policy", "gates"))
        model = self._table(
            "model", ("name", "network", "network_args", "members", "weights"), required=True
        )
        input_ = self._table("input", ("kind", "shape", "classes"), required=True)
        seed = self._table("seed", ("path",), required=False)
        name = self._value(model, "model", "name", str)
        if name is not None and not NAME.fullmatch(name):
            self._wrong("model/name", f"{name!r} is not a name: use 1 to 63 of a-z, 0-9 and -")
        network = self._network(model, input_.get("kind"))
        input_spec = self._input(input_)
        weights = self._path(model, "model", "weights")
        seed_path = self._path(seed, "seed", "path")
        log = self._settings("log", LogPolicy, self._check_log)
        policy = self._settings("policy", Policy, self._check_policy)
        gates = self._settings("gates", Gates, self._check_gates)
        if self.problems or name is None or network is None or input_spec is None:
            return None
        return ModelSpec(
            name=name,
            network=network,
            input=input_spec,
            seed_path=seed_path,
            weights_path=weights,
            log=log,
            policy=policy,
            gates=gates,
        )

    def _wrong(self, pointer: str, detail: str) -> None:
        self.problems.append(Problem(f"#/{pointer}", detail))

    def _check_keys(self, where: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
                self._wrong(f"{where}/{key}" if where else key, f"unknown key {key!r}; {hint}")

    def _table(self, name: str, known: tuple[str, ...], *, required: bool) -> dict[str, Any]:
        table = self.document.get(name)
        if table is None:
            if required:
                self._wrong(name, f"the table [{name}] is missing")
            return {}
        if not isinstance(table, dict):
            self._wrong(name, f"[{name}] must be a table")
            return {}
        self._check_keys(name, table, known)
        return table

    def _value(self, table: dict[str, Any], where: str, key: str, kind: type) -> Any:
        if key not in table:
            if table or where not in ("model", "input"):
                self._wrong(f"{where}/{key}", "is missing")
            return None
        value = table[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            self._wrong(f"{where}/{key}", f"{value!r} is not {_article(kind)}")
            return None
        return value

    def _path(self, table: dict[str, Any], where: str, key: str) -> str | None:
        path = table.get(key)
        if path is not None and (not isinstance(path, str) or not path):
            self._wrong(f"{where}/{key}", f"{path!r} is not the path of a file")
            return None
        return path

    def _network(self, model: dict[str, Any], kind: Any) -> NetworkSpec | None:
        name = self._value(model, "model", "network", str)
        args = model.get("network_args", {})
        members = model.get("members", 3)
        if not isinstance(members, int) or isinstance(members, bool) or not 1 <= members <= 5:
            self._wrong("model/members", f"{members!r} is not a whole number from 1 to 5")
        if not isinstance(args, dict):
            self._wrong("model/network_args", "must be a table")
            return None
        if name is None:
            return None
        if ":" in name and name not in self.network_allowlist:
            self._wrong(
                "model/network",
                f"{name!r} is not in ACCLIMATE_NETWORK_ALLOWLIST of the server; add it there first",
            )
        elif ":" not in name and name not in BUILT_IN_NETWORKS:
            self._wrong(
                "model/network",
                f"unknown network {name!r}; known: {', '.join(BUILT_IN_NETWORKS)}, or "
                f"module:function",
            )
        elif ":" not in name and kind in NETWORKS_OF and name not in NETWORKS_OF[kind]:
            known = ", ".join(NETWORKS_OF[kind])
            self._wrong(
                "model/network",
                f"{name!r} does not read rows of kind {kind!r}; use {known}, or module:function",
            )
        self._network_args(name, args, kind)
        return NetworkSpec(network=name, args=args, members=members)

    def _network_args(self, name: str, args: dict[str, Any], kind: Any) -> None:
        tokens = ("vocabulary",) if kind == "sequence" else ("buckets", "length")
        known = {
            "mlp": ("hidden",),
            "cnn": ("channels", "hidden"),
            "text": (*tokens, "dim", "hidden"),
        }
        if name in known:
            self._check_keys("model/network_args", args, known[name])
            for key in ("hidden", "channels"):
                widths = args.get(key, [1])
                if (
                    not _whole_numbers(widths)
                    or len(widths) > 8
                    or any(not 1 <= width <= 8192 for width in widths)
                ):
                    self._wrong(
                        f"model/network_args/{key}",
                        f"{widths!r} is not a list of 1 to 8 widths from 1 to 8192",
                    )
        if name in known or kind in ("text", "sequence"):
            for key, low, high in (
                ("vocabulary", 2, 2**24),
                ("buckets", 2, 2**20),
                ("length", 1, 4096),
                ("dim", 1, 4096),
            ):
                value = args.get(key, low)
                if (
                    not isinstance(value, int)
                    or isinstance(value, bool)
                    or not low <= value <= high
                ):
                    self._wrong(
                        f"model/network_args/{key}",
                        f"{value!r} is not a whole number from {low} to {high}",
                    )

    def _input(self, table: dict[str, Any]) -> InputSpec | None:
        kind = self._value(table, "input", "kind", str)
        shape = self._value(table, "input", "shape", list)
        classes = self._value(table, "input", "classes", list)
        if kind is not None and kind not in AXES_OF:
            near = difflib.get_close_matches(kind, AXES_OF, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(AXES_OF)}"
            self._wrong("input/kind", f"unknown kind {kind!r}; {hint}")
        if shape is not None:
            self._shape(kind, shape)
        if classes is not None:
            if not all(isinstance(name, str) and name for name in classes):
                self._wrong("input/classes", "each class must be a non-empty string")
            elif len(set(classes)) != len(classes) or not 2 <= len(classes) <= 1000:
                self._wrong("input/classes", "give 2 to 1000 classes, each once")
        if kind is None or shape is None or classes is None or self.problems:
            return None
        return InputSpec(kind=kind, shape=tuple(shape), classes=tuple(classes))

    def _shape(self, kind: Any, shape: list[Any]) -> None:
        axes = AXES_OF.get(kind, (len(shape),))
        wanted = {
            "vector": "[D]",
            "image": "[H, W] or [C, H, W]",
            "text": "[1]: one string per row",
            "sequence": "[L]",
        }
        if not _whole_numbers(shape) or any(not 1 <= side <= 1_000_000 for side in shape):
            self._wrong("input/shape", f"{shape!r} is not a list of positive whole numbers")
        elif math.prod(shape) > MOST_NUMBERS:
            self._wrong(
                "input/shape", f"a row of shape {shape!r} has more than {MOST_NUMBERS} numbers"
            )
        elif len(shape) not in axes or (kind == "text" and shape != [1]):
            self._wrong(
                "input/shape",
                f"{shape!r} is not the shape of one row of kind {kind!r}: give {wanted[kind]}",
            )
        elif kind == "image" and min(shape[-2:]) < SMALLEST_IMAGE:
            self._wrong(
                "input/shape",
                f"an image of {shape!r} is smaller than {SMALLEST_IMAGE}x{SMALLEST_IMAGE}",
            )

    def _settings(self, name: str, kind: type[Any], check: Callable[[dict[str, Any]], None]) -> Any:
        table = self._table(name, tuple(field.name for field in fields(kind)), required=False)
        default = kind()
        good: dict[str, Any] = {}
        for field in fields(kind):
            if field.name not in table:
                continue
            value, like = table[field.name], getattr(default, field.name)
            allowed = (int, float) if isinstance(like, float) else type(like)
            if not isinstance(value, allowed) or (
                isinstance(value, bool) and not isinstance(like, bool)
            ):
                self._wrong(f"{name}/{field.name}", f"{value!r} is not {_article(type(like))}")
            else:
                good[field.name] = value
        check(good)
        return kind(**good)

    def _one_of(self, pointer: str, value: Any, allowed: tuple[str, ...]) -> None:
        if value is not None and value not in allowed:
            self._wrong(pointer, f"{value!r} is not one of {', '.join(allowed)}")

    def _range(self, pointer: str, value: Any, low: float, high: float) -> None:
        if value is not None and not low <= value <= high:
            self._wrong(pointer, f"{value!r} is not in {low:g}..{high:g}")

    def _check_log(self, log: dict[str, Any]) -> None:
        self._one_of("log/durability", log.get("durability"), ("fsync", "os", "none"))
        self._range("log/keep_days", log.get("keep_days"), 0.001, 36_500)
        self._range("log/max_gib", log.get("max_gib"), 0.0001, 1_000_000)

    def _check_policy(self, policy: dict[str, Any]) -> None:
        self._one_of("policy/recipe", policy.get("recipe"), RECIPES)
        self._one_of("policy/learnable", policy.get("learnable"), ("auto", "yes", "no"))
        self._one_of("policy/few_senders", policy.get("few_senders"), ("refuse", "learn"))
        self._range("policy/max_rows", policy.get("max_rows"), 0, 10_000_000)
        self._range("policy/min_window_rows", policy.get("min_window_rows"), 20, 10_000_000)
        self._range("policy/watch_rows", policy.get("watch_rows"), 0, 10_000_000)
        self._range("policy/client_share", policy.get("client_share"), 0.01, 1)
        self._range("policy/max_risk", policy.get("max_risk"), 0, 1)
        self._range("policy/max_unproved", policy.get("max_unproved"), 0, 1)
        self._range("policy/seed", policy.get("seed"), 0, 2**31 - 1)
        hold = policy.get("hold_for_labels", "0s")
        if duration_seconds(hold) is None:
            self._wrong(
                "policy/hold_for_labels", f"{hold!r} is not a duration such as 0s, 90s, 10m or 2h"
            )
        problem = schedule_problem(policy["schedule"]) if "schedule" in policy else None
        if problem:
            self._wrong("policy/schedule", problem)

    def _check_gates(self, gates: dict[str, Any]) -> None:
        for key, value in gates.items():
            self._range(
                f"gates/{key}",
                value,
                1 if key == "min_judging_rows" else 0,
                1e6 if key == "min_judging_rows" else 1,
            )


def _article(kind: type) -> str:
    names = {
        str: "a string",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        list: "a list",
    }
    return names.get(kind, kind.__name__)


def _whole_numbers(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, int) and not isinstance(item, bool) for item in value)
    )
