"""Settings from the environment: the only file that reads it.

Every process builds its settings once, at its start, and passes them on.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ENVIRONMENT = SettingsConfigDict(
    env_prefix="ACCLIMATE_", use_attribute_docstrings=True, extra="ignore", env_ignore_empty=True
)


class Settings(BaseSettings):
    """Settings of the server processes and the migration, checked when they are built."""

    model_config = ENVIRONMENT

    home: Path = Path(".acclimate")
    """Folder of the embedded default: database, store, journals, keys, pid files."""

    database_url: SecretStr | None = None
    """SQLAlchemy address of the database; None is SQLite in the home.

    Postgres as postgresql+psycopg://user:password@host/name.
    """

    broker_url: SecretStr | None = None
    """Celery's broker, redis://host:6379/0 or redis+socket:///path.

    With None, `acclimate up` starts a private one.
    """

    store_url: str | None = None
    """Where segments and artifacts are stored: file:///folder, s3://bucket/prefix.

    None is a folder in the home.
    """

    journal_dir: Path | None = None
    """Local folder of this replica's open log, not on a network disk; None is a folder in the home.
    """

    journal_limit_mib: float = Field(default=4096.0, gt=0)
    """Largest log that a replica keeps on its own disk while store or database do not take it.

    Beyond it rows are refused.
    """

    cache_dir: Path | None = None
    """Local copies of artifacts and segments of a remote store; None is a folder in the home."""

    replica: str = "api-0"
    """Slot of this API process; a successor in the slot recovers its predecessor's open log."""

    host: str = "127.0.0.1"
    """Address that `acclimate serve` listens on."""

    port: int = Field(default=8000, ge=0, le=65_535)
    """Port that `acclimate serve` listens on."""

    metrics_dir: Path | None = None
    """Folder in which the API processes of one machine count together. Never a network disk.

    It is emptied by the process that starts them all; None is a folder of this process, in the
    home.
    """

    metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    """A second, open port for /metrics of the API.

    None leaves it on the API port, behind the view scope. Of several replicas on one machine one
    has this port, and reports the sums.
    """

    worker_metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    """Port of the worker's own /metrics; None is none."""

    network_allowlist: str = ""
    """Comma-separated package.module:function names that specs may name as network."""

    body_limit_mib: float = Field(default=8.0, gt=0)
    """Largest request body, counted while it streams in."""

    body_seconds: float = Field(default=30.0, gt=0)
    """Longest time for a request body to arrive; at least 10 min for a model with its seed set."""

    rate_limit_rows: float | None = Field(default=None, gt=0)
    """Rows or labels a second for one key, over all replicas, with bursts of ten seconds' worth or
    of one largest request.

    None is no limit.
    """

    max_request_rows: int = Field(default=4096, ge=512)
    """Largest number of rows in one request."""

    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""

    lease_seconds: float = Field(default=20.0, ge=1)
    """How long a run belongs to a trainer that sends no heartbeat."""

    drills: Path | None = None
    """For fault drills; None is no drills.

    While this folder holds a file named as a stage (train, judge), a trainer that enters that stage
    waits there, with heartbeats, so that a test can kill or cancel it.
    """

    @field_validator("database_url")
    @classmethod
    def _psycopg(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        value = url.get_secret_value()
        for plain in ("postgresql://", "postgres://"):
            if value.startswith(plain):
                return SecretStr("postgresql+psycopg://" + value.removeprefix(plain))
        if not value.startswith(("postgresql+psycopg://", "sqlite:///")):
            raise ValueError("must start with postgresql://, postgresql+psycopg:// or sqlite:///")
        return url

    @field_validator("log_level")
    @classmethod
    def _level(cls, level: str) -> str:
        if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError(f"{level!r} is not DEBUG, INFO, WARNING or ERROR")
        return level.upper()

    @property
    def database_address(self) -> str:
        """The address of the database."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{(self.home / 'acclimate.db').resolve()}"

    @property
    def broker_address(self) -> str:
        """The address of the broker."""
        return (
            self.broker_url.get_secret_value()
            if self.broker_url is not None
            else "redis://127.0.0.1:6379/0"
        )

    @property
    def store_address(self) -> str:
        """The address of the store."""
        return self.store_url or f"file://{(self.home / 'store').resolve()}"

    @property
    def journals(self) -> Path:
        """This replica's folder of open logs, with one folder a model."""
        return (self.journal_dir or self.home / "journal").resolve() / self.replica

    @property
    def journal_limit(self) -> int:
        """Bytes."""
        return int(self.journal_limit_mib * 2**20)

    @property
    def metrics(self) -> Path:
        """Folder of the counts of serving."""
        return (self.metrics_dir or self.home / "metrics" / self.replica).resolve()

    @property
    def body_limit(self) -> int:
        """Bytes."""
        return int(self.body_limit_mib * 2**20)

    @property
    def cache(self) -> Path:
        """Folder of local copies of a remote store."""
        return (self.cache_dir or self.home / "cache").resolve()

    @property
    def allowlist(self) -> tuple[str, ...]:
        """The names of `network_allowlist`."""
        return tuple(name.strip() for name in self.network_allowlist.split(",") if name.strip())


class ClientSettings(BaseSettings):
    """Settings of the command line and the client library."""

    model_config = ENVIRONMENT

    url: str | None = None
    """Address of a running service."""

    api_key: SecretStr | None = None
    """Key sent as bearer."""

    home: Path = Path(".acclimate")
    """Home of a running embedded service; its url and admin.key are the defaults of url and
    api_key.
    """

    streams: Path = Path("../shared/streams")
    """Folder of the real drift streams that benchmarks, stream tests and examples read."""


def server_settings() -> Settings:
    """The settings of a server process."""
    return Settings()


def client_settings() -> ClientSettings:
    """The settings of a client process."""
    return ClientSettings()


def child_environment(**changes: str) -> dict[str, str]:
    """This process's environment with the changes, for a child process."""
    import os

    return {**os.environ, **changes}


def share_metrics_in(folder: Path) -> None:
    """Set prometheus_client's folder for several processes; call before it is imported."""
    import os

    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
