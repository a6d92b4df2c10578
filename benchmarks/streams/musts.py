"""The demands on learning, each with what was measured: PASS, FAIL, or not measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from acclimate.learning.data import LOOKED_ANEW
from benchmarks.streams import catalogue, figures
from benchmarks.streams.figures import Figures
from benchmarks.streams.scores import at_least, gap_closed, share

Rows = Mapping[str, Figures]
GRADUAL = {
    "digits": 0.80,
    "digits-vector": 0.80,
    "synthetic": 0.80,
    "mnist-rotation": 0.80,
    "keystroke": 0.65,
}
PUBLISHED_KUMAR = 0.879
ALPHA = 0.05
CHANCE = 0.01
"""Of 500 runs a true share of alpha shows more than alpha half of the time: one judging part counts
against the gate only where chance would do it in fewer cases than this.
"""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """One line: what is demanded of what, the value measured (None: not measured), the limit, and
    which side of it is right.
    """

    demand: str
    of: str
    value: float | None
    limit: float
    direction: Literal["at least", "at most"] = "at least"
    goal: float | None = None
    note: str = ""

    @property
    def verdict(self) -> Literal["PASS", "FAIL", "not measured"]:
        if self.value is None:
            return "not measured"
        return "PASS" if self._keeps(self.value, self.limit) else "FAIL"

    @property
    def reached(self) -> str:
        """Whether the goal was."""
        if self.goal is None or self.value is None:
            return ""
        return "reached" if self._keeps(self.value, self.goal) else "missed"

    def _keeps(self, value: float, limit: float) -> bool:
        # Half a hundredth of a point: what the tables round away.
        return value >= limit - 5e-5 if self.direction == "at least" else value <= limit + 5e-5


def demands(rows: Rows, *, gates: Sequence[dict[str, Any]]) -> list[Demand]:
    """All of them, in the order of the table that asks for them. Values and limits are in 0..1."""
    return [
        *_gradual(rows),
        *_published(rows),
        *_gains(rows),
        *_jump(rows),
        *_estimates(rows),
        *_calibration(rows),
        *_null_simulation(gates),
        *_harm(rows),
    ]


def _gradual(rows: Rows) -> Iterable[Demand]:
    for name, limit in GRADUAL.items():
        found = rows.get(name)
        mean = found.gap("ours") if found else None
        last = found.gap("ours", found.last) if found else None
        audited = found.gap("ours_audited") if found else None
        said = f"with audits {100 * audited:.0f} % (goal 95)" if audited is not None else ""
        yield Demand(
            demand="gap closed, mean", of=name, value=mean, limit=limit, goal=0.92, note=said
        )
        yield Demand(demand="gap closed, last window", of=name, value=last, limit=limit, goal=0.92)


def _published(rows: Rows) -> Iterable[Demand]:
    kumar, gas = rows.get("kumar"), rows.get("gas")
    value = kumar.target("ours").mean if kumar else None
    yield Demand(
        demand="at 55 to 60 degrees", of="kumar", value=value, limit=PUBLISHED_KUMAR, goal=0.95
    )
    said = ""
    if gas is not None:
        last, audited = gas.last("ours").mean, gas.accuracy("ours_audited").mean
        said = ", ".join(
            f"{name} {100 * each:.1f} (goal {goal})"
            for name, each, goal in (("last batch", last, 75), ("with audits", audited, 90))
            if each is not None
        )
    value = gas.accuracy("ours").mean if gas else None
    yield Demand(
        demand="mean accuracy of seven batches",
        of="gas",
        value=value,
        limit=0.78,
        goal=0.85,
        note=said,
    )


def _gains(rows: Rows) -> Iterable[Demand]:
    yield _gain(rows, "elec", -0.003, goal=0.05)
    for name, definition in catalogue.ALL.items():
        if definition.family == "still":
            yield _gain(rows, name, -0.003, goal=0.0)
            gains = rows[name].gains("ours") if name in rows else {}
            value = min(gains.values()) if gains else None
            yield Demand(demand="served - frozen, worst seed", of=name, value=value, limit=-0.010)
    for name, definition in catalogue.ALL.items():
        if definition.family == "prior":
            closed = rows[name].gap("ours") if name in rows else None
            said = f"{100 * closed:.0f} % of the gap (goal 60)" if closed is not None else ""
            yield _gain(rows, name, -0.005, note=said)


def _gain(
    rows: Rows, name: str, limit: float, *, goal: float | None = None, note: str = ""
) -> Demand:
    gains = rows[name].gains("ours") if name in rows else {}
    value = sum(gains.values()) / len(gains) if gains else None
    return Demand(
        demand="served - frozen, mean", of=name, value=value, limit=limit, goal=goal, note=note
    )


def _jump(rows: Rows) -> Iterable[Demand]:
    for name, definition in catalogue.ALL.items():
        if definition.jump_at is None:
            continue
        records = rows[name].of("ours") if name in rows else []
        at = definition.jump_at - 1
        alarms = [record["windows"][at]["outcome"] == "A" for record in records]
        later = [
            window["served"] - window["frozen"]
            for record in records
            for window in record["windows"][at + 1 :]
        ]
        yield Demand(
            demand="alarm in the window of the jump",
            of=name,
            value=share(sum(alarms), len(alarms)),
            limit=1.0,
        )
        changed = [
            window["after_promotion"] is not None
            for record in records
            for window in record["windows"][at + 1 : at + 1 + LOOKED_ANEW]
        ]
        yield Demand(
            demand="label-free changes of the answering version while the alarm stands",
            of=name,
            value=float(sum(changed)) if records else None,
            limit=0.0,
            direction="at most",
            note=f"in the {LOOKED_ANEW} windows after the jump",
        )
        yield Demand(
            demand="served - frozen, worst window after the jump",
            of=name,
            value=min(later, default=None),
            limit=-0.10,
        )
        yield _gain(rows, name, -0.005, note=_recovered(rows, name, at))


def _recovered(rows: Rows, name: str, at: int) -> str:
    """How much of the gap is closed five windows after the jump where 25 rows of each window were
    labelled.
    """
    if name not in rows:
        return ""
    found = rows[name]
    paths = [found.path("ours_audited", key) for key in ("served", "frozen")] + [
        found.path("oracle", "served")
    ]
    values = [path[at + 5] if len(path) > at + 5 else None for path in paths]
    if any(value is None for value in values):
        return ""
    closed = gap_closed(*(value or 0.0 for value in values))
    return (
        f"with audits {100 * closed:.0f} % of the gap in the fifth window after it (goal 50)"
        if closed is not None
        else ""
    )


def _estimates(rows: Rows) -> Iterable[Demand]:
    everywhere = [each for row in rows.values() for each in row.estimates("ours")]
    held, given, runs = figures.covered(everywhere)
    error = figures.estimate_error(everywhere)
    said = f"{held} of {given} given, {runs - given} refused" if runs else ""
    said += f", {100 * error:.1f} points off on average (goal 4)" if error is not None else ""
    yield Demand(
        demand="estimates that held the truth",
        of="all streams",
        value=share(held, given),
        limit=0.90,
        note=said,
    )
    for name in GRADUAL:
        found = rows[name].estimates("ours") if name in rows else []
        _, given, all_of_them = figures.covered(found)
        yield Demand(demand="estimates given", of=name, value=share(given, all_of_them), limit=0.5)


def _calibration(rows: Rows) -> Iterable[Demand]:
    for name, definition in catalogue.ALL.items():
        if definition.family == "gradual":
            value = rows[name].calibration_error("ours").mean if name in rows else None
            yield Demand(
                demand="calibration error",
                of=name,
                value=value,
                limit=0.05,
                direction="at most",
                goal=0.03,
            )


def _null_simulation(found: Sequence[dict[str, Any]]) -> Iterable[Demand]:
    runs = sum(each["runs"] for each in found)
    false = sum(round(each["false_promotions"] * each["runs"]) for each in found)
    yield Demand(
        demand="false promotions under the null, all judging parts",
        of="gate against the anchor",
        value=share(false, runs),
        limit=ALPHA,
        direction="at most",
        note="`python -m benchmarks.mechanisms.gates` makes it",
    )
    beyond = [
        each
        for each in found
        if _tail(round(each["false_promotions"] * each["runs"]), each["runs"]) < CHANCE
    ]
    named = ", ".join(
        f"{each['rows']} rows, anchor {100 * each['accuracy']:.0f} %, margin "
        f"{100 * each['margin']:.0f}: "
        f"{100 * each['false_promotions']:.1f} %"
        for each in beyond
    )
    yield Demand(
        demand="judging parts with more of them than alpha, beyond chance",
        of="gate against the anchor",
        value=float(len(beyond)) if found else None,
        limit=0.0,
        direction="at most",
        note=named,
    )


def _tail(hits: int, runs: int) -> float:
    """The chance of so many false promotions or more where each has the chance alpha."""
    return at_least(hits, runs, ALPHA)


def _harm(rows: Rows) -> Iterable[Demand]:
    for method, limit, goal in (("ours", 0.20, 0.10), ("ours_audited", 0.20, 0.03)):
        compared = [
            each for name, row in rows.items() if "!" not in name for each in row.compared(method)
        ]
        bad, of = figures.harmful(compared)
        yield Demand(
            demand="harmful promotions",
            of=f"all streams, {'25 audit labels' if method == 'ours_audited' else 'label-free'}",
            value=share(bad, of),
            limit=limit,
            direction="at most",
            goal=goal,
            note=f"{bad} of {of}" if of else "",
        )
