"""Connections and transactions; the only file that commits.

Callers get short transactions through `Database.read` and `Database.write`; none spans training or
a request to another service. On SQLite a write begins IMMEDIATE: a deferred transaction that turns
into a write fails at once under contention.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Float, create_engine, event, select
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from acclimate.storage import deadlines
from acclimate.storage.deadlines import Watchdog

POSTGRES = {
    "pool_size": 5,
    "max_overflow": 5,
    "pool_timeout": 3,
    "pool_pre_ping": True,
    "pool_recycle": 900,
    "connect_args": {
        "connect_timeout": 3,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 5000,
        "options": "-c statement_timeout=10000 -c lock_timeout=5000 -c "
        "idle_in_transaction_session_timeout=30000",
    },
}


TIMEOUT_SECONDS = 12.0


class Unavailable(Exception):
    """The database did not answer: nothing of the transaction happened, or at commit all of it."""


class UnfitValue(ValueError):
    """A value that no column can hold: a text with NUL, a number out of range.

    Nothing of the transaction happened.
    """


class now(GenericFunction[float]):  # noqa: N801 - reads as the SQL function that it is
    """The database's clock in unix seconds: one clock for the leases of all processes."""

    type = Float()
    inherit_cache = True
    name = "acclimate_now"


@compiles(now, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


@compiles(now, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


def clock(connection: Connection) -> float:
    """The time of the database's clock, unix seconds."""
    return float(connection.execute(select(now())).scalar_one())


class Database:
    """One engine on SQLite or Postgres, for all threads of a process, not for its forks.

    A server that does not answer is waited for `timeout` seconds, a little more than a statement
    may take.
    """

    def __init__(self, address: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self.address = address
        self._watchdog = Watchdog(timeout)
        self.engine = (
            _sqlite(address) if address.startswith("sqlite") else _postgres(address, self._watchdog)
        )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one consistent state and changes nothing. Raises `Unavailable`."""
        with _translated(), self.engine.connect() as connection:
            connection.info["write"] = False
            if connection.dialect.name == "postgresql":
                # By default each statement would see another state; on SQLite a transaction always
                # sees one.
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection
            connection.rollback()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed at the end of the block, rolled back when it raises.

        Raises `Unavailable`.
        """
        with _translated(), self.engine.connect() as connection:
            connection.info["write"] = True
            yield connection
            connection.commit()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        self._watchdog.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (DataError, OverflowError) as error:
        raise UnfitValue("the database cannot hold one of the values") from error
    except (OperationalError, DBAPIError) as error:
        if isinstance(error, OperationalError) or error.connection_invalidated:
            raise Unavailable(str(error.orig)) from error
        raise


def _postgres(address: str, watchdog: Watchdog) -> Engine:
    engine = create_engine(address, hide_parameters=True, **POSTGRES)

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        connection = deadlines.Connection.connect(*arguments, **options)
        connection.watchdog = watchdog
        return connection

    return engine


def _sqlite(address: str) -> Engine:
    engine = create_engine(
        address,
        hide_parameters=True,
        connect_args={"timeout": 10, "check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "busy_timeout=10000",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.info.get("write") else "BEGIN")

    return engine
