"""Compares learner and proved version on the newest rows of the open window, between two runs.

A process: `python -m workers.trainer.live_comparison MODEL EPOCH`. Where the learner fell behind,
or labels refute it, the proved version answers from then on; learning goes on. Only a run, which
compares the whole window, lets it serve again. A student that waits for labels answers once they
lean to it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
import torch

from acclimate.learning.data import UNLABELLED, Integers, Rows
from acclimate.learning.evaluation import serving_guard, shadowing
from acclimate.learning.evaluation.serving_guard import Serving
from acclimate.learning.models import bundle_format
from acclimate.learning.models.bundle import Bundle
from acclimate.logs import configure
from acclimate.parent_death import die_with_parent
from acclimate.settings import Settings, server_settings
from acclimate.storage.database import Database, clock
from acclimate.storage.log import catalog, windows
from acclimate.storage.log.logged_rows import LoggedRows
from acclimate.storage.log.segments import SegmentDamaged, Segments
from acclimate.storage.registry import (
    audit_log,
    holds,
    labels,
    models,
    promotions,
    revisions,
    versions,
)
from acclimate.storage.registry.artifacts import Artifacts
from acclimate.storage.registry.models import UnknownModel
from acclimate.storage.registry.watches import ACTOR
from acclimate.storage.store import Store, StoreError
from workers.trainer import serving_standing

if TYPE_CHECKING:
    from sqlalchemy import Row, RowMapping

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Live:
    """A model whose unproved learner answers, or waits for labels, and the rows of its open window.

    `other` answers if the learner does not: the proved version, or the one it waits behind.
    """

    model: RowMapping
    learner: int
    other: int
    held: Row[Any] | None
    lines: list[RowMapping]


class LiveComparison:
    """The comparison of one model, as long as the champion is that of this epoch."""

    def __init__(self, settings: Settings, model_id: str, epoch: int) -> None:
        self.settings, self.model_id, self.epoch = settings, model_id, epoch
        self.database = Database(settings.database_address)
        store = Store(settings.store_address, settings.cache)
        self.artifacts, self.segments = Artifacts(store), Segments(store)

    def work(self) -> None:
        """Compare, and switch to the proved version where the learner is to answer no longer."""
        live = self.live()
        if live is None:
            return
        if live.held is not None:
            self.end_hold(live, live.held)
            return
        found = self.decided(live)
        if found is None or found.standing.serves == "learner":
            return
        self.switch(live, found)

    def live(self) -> Live | None:
        """None where something else answers by now."""
        with self.database.read() as connection:
            model = models.get(connection, self.model_id)
            champion = promotions.champion(connection, self.model_id)
            learner = promotions.learner(connection, self.model_id)
            proved = versions.proved(connection, self.model_id)
            number = windows.open_window(connection, self.model_id)["number"]
            lines = catalog.segments_since_window(connection, self.model_id, number)
        if champion is None or champion.epoch != self.epoch:
            return None
        held = champion if holds.held_until(champion) is not None else None
        answers = champion.to_version == learner and learner != proved
        if learner is None or not (answers or held is not None):
            return None
        other = proved if held is None else held.to_version
        return Live(model=model, learner=learner, other=other, held=held, lines=lines)

    def end_hold(self, live: Live, held: Row[Any]) -> None:
        """The learner answers where labels lean to it, or its time is over and they do not lean
        against it.
        """
        learner, other = self.version(live.learner), self.version(live.other)
        gains, losses = self.won_and_lost(live, learner, other)
        lean = serving_guard.leaning(gains, losses)
        with self.database.write() as connection:
            models.lock(connection, self.model_id)
            expired = clock(connection) >= (holds.held_until(held) or 0.0)
            if lean > 0 or (expired and lean == 0):
                told = f"of {gains + losses} labelled rows that one version alone had right"
                reason = f"the new version waited for labels, and had {gains} {told}"
                holds.end(connection, live.model, held, reason=reason)

    def decided(self, live: Live) -> Serving | None:
        """Who is to answer; None where there are too few rows to say so."""
        with self.database.read() as connection:
            _, policy = revisions.policy(connection, self.model_id)
            standing = serving_standing.now(connection, self.model_id, live.other)
        newest = self.newest(live, policy.watch_rows)
        if newest is None:
            return None
        learner, proved = self.version(live.learner), self.version(live.other)
        nothing = np.full(len(newest), UNLABELLED, dtype=np.int64)
        found = shadowing.compare(learner, proved, newest.x, nothing)
        gains, losses = self.won_and_lost(live, learner, proved)
        found = replace(found, gains=gains, losses=losses)
        # Whether it is ahead is for the runs to say; here, whether it fell behind.
        decided = serving_guard.decide(
            standing, found, at_once=True, max_unproved=policy.max_unproved
        )
        enough = len(newest) >= policy.watch_rows
        return decided if enough or decided.refutes else None

    def won_and_lost(self, live: Live, learner: Bundle, other: Bundle) -> tuple[int, int]:
        """How many labelled rows of the open window each alone has right."""
        with self.database.read() as connection:
            known = labels.records(connection, self.model_id, before=np.inf)
        gains, losses = 0, 0
        said = {address: label.label for address, label in known.items() if label.label is not None}
        for rows, y in self.labelled(live, said):
            won, lost = shadowing.won_and_lost(learner, other, rows, y)
            gains, losses = gains + won, losses + lost
        return gains, losses

    def newest(self, live: Live, most: int) -> LoggedRows | None:
        """The newest rows of the open window, `most` at most, whichever version answered them."""
        parts: list[LoggedRows] = []
        for line in reversed(live.lines):
            here = range(max(0, line["rows"] - most), line["rows"])
            parts.insert(0, self.segments.take(line["key"], line["digest"], here))
            most -= len(here)
            if most <= 0:
                break
        return LoggedRows.concatenate(parts) if parts else None

    def labelled(
        self, live: Live, said: dict[tuple[str, int], int]
    ) -> Iterator[tuple[Rows, Integers]]:
        """The labelled rows of the open window with their labels, segment by segment."""
        for line in live.lines:
            places = self.segments.positions(line["key"], said.keys()) if said else {}
            if places:
                at = np.array(list(places.values()))
                y = np.array([said[address] for address in places], dtype=np.int64)
                yield self.segments.take(line["key"], line["digest"], at).x, y

    def version(self, number: int) -> Bundle:
        with self.database.read() as connection:
            digest = versions.get(connection, self.model_id, number)["digest"]
        manifest, arrays = self.artifacts.read(digest)
        return bundle_format.build(manifest, arrays, allowlist=self.settings.allowlist)

    def switch(self, live: Live, found: Serving) -> None:
        """The proved version answers, unless another promotion came meanwhile."""
        document = {**found.document, "compared": live.learner, "proved": live.other}
        with self.database.write() as connection:
            models.lock(connection, self.model_id)
            champion = promotions.champion(connection, self.model_id)
            if champion is None or champion.epoch != self.epoch:
                return
            promotions.switch(
                connection,
                self.model_id,
                live.other,
                actor=ACTOR,
                reason=found.reason,
                run_id=None,
                comparison=document,
            )
            audit_log.write(
                connection,
                actor=ACTOR,
                action="version.switch",
                target=live.model["name"],
                content={"version": live.other, "from": live.learner},
            )
        log.info(
            "the proved version answers",
            model=live.model["name"],
            version=live.other,
            why=found.reason,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("epoch", type=int)
    arguments = parser.parse_args()
    die_with_parent()
    settings = server_settings()
    configure(settings.log_level, process="comparison", model_id=arguments.model)
    torch.set_num_threads(1)
    try:
        LiveComparison(settings, arguments.model, arguments.epoch).work()
    except (UnknownModel, SegmentDamaged, StoreError) as error:
        log.warning("versions are not compared", error=str(error))


if __name__ == "__main__":
    main()
