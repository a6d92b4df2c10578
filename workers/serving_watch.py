"""Has learner and proved version compared between two runs, as often as `watch_rows` rows came.

Ends holds too: a student that waited for labels answers when they lean to it or the time is over.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from acclimate.settings import Settings, child_environment
from acclimate.storage.database import Database, clock
from acclimate.storage.log import barrier, catalog, windows
from acclimate.storage.registry import holds, models, promotions, revisions, versions, watches
from acclimate.storage.registry.models import UnknownModel
from workers.live_answers import LastChecked

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

log = structlog.get_logger()

MOST_SECONDS = 60.0
"""A comparison that takes longer is given up; the next one comes with the next rows."""
SECONDS_BETWEEN = 20.0
"""However many rows come, a model is compared once in so many seconds: it costs a process."""
SEAL_ROWS = 50
"""While a learner waits for labels, rows are sealed when so many are waiting."""


@dataclass(frozen=True, kw_only=True)
class Due:
    """A model whose learner answers unproved or waits for labels, and the state of its open window.

    With `seal`, more of its rows are to be sealed before they can be compared. `expired`: the
    learner has waited long enough.
    """

    model: RowMapping
    epoch: int
    state: tuple[int, int, int]
    seal: bool
    expired: bool = False

    @property
    def model_id(self) -> str:
        return str(self.model["id"])

    @property
    def labelled_rows(self) -> int:
        """How many rows of the open window have labels."""
        return self.state[2]

    @property
    def nothing_yet(self) -> bool:
        """Whether neither enough rows nor a label came."""
        return self.state[1:] == (0, 0)


def poll(settings: Settings, database: Database, seen: LastChecked) -> None:
    """Compare the versions of each model whose open window has grown enough since the last time.

    Also when a label came: labels refute a learner at once.
    """
    with database.read() as connection:
        known = models.list_all(connection)
        found = [due for model in known if (due := _due(connection, model)) is not None]
    for due in found:
        if due.seal:
            with suppress(UnknownModel), database.write() as connection:
                barrier.request_seal(connection, due.model_id)
        if due.nothing_yet or seen.unchanged(("serving", due.model_id), due.state):
            continue
        slot = (due.epoch, due.labelled_rows, time.monotonic() // SECONDS_BETWEEN)
        if seen.unchanged(("compared", due.model_id), slot) and not due.expired:
            continue
        if due.expired and not due.labelled_rows:
            _end_hold(database, due)
        else:
            _compare(settings, due)
        seen.note(("serving", due.model_id), due.state)
        seen.note(("compared", due.model_id), slot)


def _due(connection: Connection, model: RowMapping) -> Due | None:
    """None where the version that answers is proved, or an operator brought it back, or the policy
    says `watch_rows = 0`.
    """
    model_id = model["id"]
    champion = promotions.champion(connection, model_id)
    learner = promotions.learner(connection, model_id)
    until = holds.held_until(champion)
    if champion is not None and until is not None:
        return _held(connection, model, champion.epoch, until)
    if champion is None or learner is None or champion.to_version != learner:
        return None
    if learner == versions.proved(connection, model_id):
        return None
    by_operator = champion.actor not in ("loop", watches.ACTOR)
    if by_operator and watches.served_before(connection, model_id, learner, champion.epoch):
        return None
    _, policy = revisions.policy(connection, model_id)
    if policy.watch_rows == 0:
        return None
    window = windows.open_window(connection, model_id)
    lines = catalog.segments_since_window(connection, model_id, window["number"])
    rows = sum(line["rows"] for line in lines)
    return Due(
        model=model,
        epoch=champion.epoch,
        state=(champion.epoch, rows // policy.watch_rows, window["rows_labelled"] or 0),
        seal=barrier.seal_is_due(
            connection, model_id, policy.watch_rows - rows % policy.watch_rows
        ),
    )


def _held(connection: Connection, model: RowMapping, epoch: int, until: float) -> Due:
    """Of a learner that waits for labels."""
    labelled = windows.open_window(connection, model["id"])["rows_labelled"] or 0
    expired = clock(connection) >= until
    return Due(
        model=model,
        epoch=epoch,
        state=(epoch, int(expired), labelled),
        seal=barrier.seal_is_due(connection, model["id"], SEAL_ROWS),
        expired=expired,
    )


def _end_hold(database: Database, due: Due) -> None:
    """The learner answers: nobody said anything against it."""
    with suppress(UnknownModel), database.write() as connection:
        models.lock(connection, due.model_id)
        held = promotions.champion(connection, due.model_id)
        if held is not None and held.epoch == due.epoch:
            reason = "no label came while the new version waited for them"
            holds.end(connection, due.model, held, reason=reason)


def _compare(settings: Settings, due: Due) -> None:
    """In a process of its own: torch is not imported here."""
    command = [
        sys.executable,
        "-m",
        "workers.trainer.live_comparison",
        due.model_id,
        str(due.epoch),
    ]
    try:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            env=child_environment(),
            timeout=MOST_SECONDS,
            check=True,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        log.warning("versions are not compared", model_id=due.model_id, error=str(error))
