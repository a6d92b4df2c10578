"""The tables. Times are unix seconds of the database's clock; a JSON column is read as a whole."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ACTIVE = ("queued", "running", "cancelling")
"""The states of a run that has not ended; at most one such run a model."""
ENDED = ("succeeded", "rejected", "failed", "cancelled")

models = Table(
    "models",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("spec", JSON, nullable=False),
    Column("seed_digest", String(71), nullable=False),
    # The artifact of brought weights for version 1.
    Column("weights_digest", String(71)),
    Column("learning", String(8), nullable=False, server_default="on"),
    Column("learning_reason", Text),
    # The number of the newest seal barrier; each replica seals its journal and acknowledges it.
    Column("seal", BigInteger, nullable=False, server_default="0"),
    Column("created_at", Float, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(6), primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("content", JSON, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", Float, nullable=False),
    CheckConstraint("kind IN ('policy', 'gates')", name="kind"),
)

replicas = Table(
    "replicas",
    metadata,
    Column("replica", String(63), primary_key=True),
    Column("heartbeat_at", Float, nullable=False),
    Column("started_at", Float, nullable=False),
)

replica_models = Table(
    "replica_models",
    metadata,
    Column("replica", String(63), primary_key=True),
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("sealed", BigInteger, nullable=False, server_default="0"),
    Column("open_rows", BigInteger, nullable=False, server_default="0"),
    Column("problem", Text),
)

windows = Table(
    "windows",
    metadata,
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", String(12), nullable=False),
    Column("rows", BigInteger, nullable=False, server_default="0"),
    Column("rows_pseudo_labelled", BigInteger, nullable=False, server_default="0"),
    Column("rows_refused", BigInteger, nullable=False, server_default="0"),
    Column("rows_labelled", BigInteger, nullable=False, server_default="0"),
    Column("closed_by", String(12)),
    Column("closed_at", Float),
    Column("digest", String(71)),
    Column("drift", JSON),
    # The accuracy estimate of the answers in this window, made before any label of it.
    Column("estimate", JSON),
    CheckConstraint("state IN ('open', 'closed', 'quarantined', 'released')", name="state"),
)
# At most one open window a model.
Index(
    "uq_windows_one_open",
    windows.c.model_id,
    unique=True,
    sqlite_where=text("state = 'open'"),
    postgresql_where=text("state = 'open'"),
)

segments = Table(
    "segments",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    Column("replica", String(63), nullable=False),
    Column("key", Text, nullable=False),
    Column("digest", String(71), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("first_logged_at", Float, nullable=False),
    Column("last_logged_at", Float, nullable=False),
    # NULL: in the open window.
    Column("window", Integer),
    Column("registered_at", Float, nullable=False),
    Column("deleted_at", Float),
    Index(None, "model_id", "window"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    Column("state", String(10), nullable=False),
    Column("stage", String(12), nullable=False),
    Column("trigger", String(8), nullable=False),
    Column("reason", Text),
    Column("slot", Float),
    Column("recipe", String(32), nullable=False),
    Column("windows", JSON, nullable=False),
    Column("policy_revision", Integer, nullable=False),
    Column("gates_revision", Integer, nullable=False),
    Column("parent_version", Integer),
    Column("version", Integer),
    Column("promoted", Boolean, nullable=False, server_default=text("false")),
    Column("evidence", String(10)),
    Column("attempt", Integer, nullable=False, server_default="0"),
    # The fencing token: every claim raises it; a write with an older one changes nothing.
    Column("token", BigInteger, nullable=False, server_default="0"),
    Column("owner", Text),
    Column("lease_expires_at", Float),
    Column("heartbeat_at", Float),
    Column("progress", JSON),
    Column("rows", BigInteger),
    Column("rows_pseudo_labelled", BigInteger),
    Column("rows_labelled", BigInteger),
    # Number of labelled rows of earlier windows that the run learnt from.
    Column("rows_taught", BigInteger),
    Column("refused", JSON),
    Column("drift", JSON),
    Column("gates", JSON),
    # How the versions that could serve compare on the window, and who serves.
    Column("serving", JSON),
    Column("detail", Text),
    # The artifact of the accepted pseudo-labels, while it is kept; how many of them have a label
    # by now, and how many it contradicts.
    Column("pseudo_labels", String(71)),
    Column("pseudo_labels_checked", Integer),
    Column("pseudo_labels_wrong", Integer),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("data_digest", String(71)),
    Column("config_digest", String(71)),
    CheckConstraint(
        "state IN ('queued', 'running', 'cancelling', 'succeeded', 'rejected', 'failed', "
        "'cancelled')",
        name="state",
    ),
    UniqueConstraint("model_id", "slot"),
    Index(None, "model_id", "created_at"),
)
ACTIVE_WHERE = text("state IN ('queued', 'running', 'cancelling')")
Index(
    "uq_runs_one_active",
    runs.c.model_id,
    unique=True,
    sqlite_where=ACTIVE_WHERE,
    postgresql_where=ACTIVE_WHERE,
)

# Results of a run's finished stages, as digests of artifacts: another attempt continues from them.
run_stages = Table(
    "run_stages",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("stage", String(12), primary_key=True),
    Column("digest", String(71), nullable=False),
    Column("at", Float, nullable=False),
)

# Append-only. The events of a run, in order.
run_events = Table(
    "run_events",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("content", JSON, nullable=False),
    Column("at", Float, nullable=False),
    CheckConstraint("kind IN ('state', 'stage', 'progress', 'gate', 'end')", name="kind"),
)

# A request repeated under its Idempotency-Key is answered with the run that the first one started.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key_id", String(26), primary_key=True),
    Column("idempotency_key", String(128), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("at", Float, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("digest", String(71), nullable=False),
    Column("state", String(10), nullable=False),
    Column("parent", Integer),
    Column("run_id", ForeignKey("runs.id")),
    Column("gates", JSON, nullable=False),
    Column("evidence", String(10)),
    # How student and champion answered the held-out rows when the version was judged; a watch
    # compares live answers with it.
    Column("expected", JSON),
    # The serving mode: plain, or one with running state.
    Column("mode", String(16), nullable=False, server_default="plain"),
    # Trusted rows by class, and the distance of its weights from the anchor's.
    Column("lineage", JSON),
    # Of version 1: the simulation of self-training on the seed set.
    Column("rehearsal", JSON),
    # The artifact of another version that holds the weights, where only the serving mode differs.
    Column("weights_digest", String(71)),
    # When labels proved it better than the version proved before, and the comparison.
    Column("proved_at", Float),
    Column("proof", JSON),
    Column("created_at", Float, nullable=False),
    # The number stays taken; the artifact is gone.
    Column("deleted_at", Float),
    CheckConstraint("state IN ('promoted', 'rejected')", name="state"),
)

# Append-only. The newest epoch names the champion, the newest one that is no switch the learner; a
# rollback is a new epoch that points at an earlier version.
promotions = Table(
    "promotions",
    metadata,
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", BigInteger, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("from_version", Integer),
    Column("to_version", Integer, nullable=False),
    Column("run_id", ForeignKey("runs.id")),
    Column("evidence", String(10)),
    Column("actor", Text, nullable=False),
    Column("reason", Text),
    Column("at", Float, nullable=False),
    Column("served_at", Float),
    # Findings of the watch over the next rows; NULL before the watch began.
    Column("watch", JSON),
    # What a switch follows from.
    Column("comparison", JSON),
    CheckConstraint("kind IN ('first', 'promote', 'switch', 'rollback', 'override')", name="kind"),
)

# Erased data subjects, by a pseudonym derived from model and subject; the subject is not stored.
erasures = Table(
    "erasures",
    metadata,
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("pseudonym", String(64), primary_key=True),
    # Rows logged until then are erased, also in restored files; later ones are logged as usual.
    Column("until", Float, nullable=False),
    Column("rows", BigInteger, nullable=False, server_default="0"),
    Column("versions", JSON, nullable=False),
)

labels = Table(
    "labels",
    metadata,
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("prediction_id", String(128), primary_key=True),
    Column("row", Integer, primary_key=True),
    Column("source", String(63), primary_key=True),
    # NULL: none of the classes, or not the class `wrong`.
    Column("label", Integer),
    # The class that somebody said the row is not.
    Column("wrong", Integer),
    Column("accepted_at", Float, nullable=False),
    # When the label was known, as the sender says.
    Column("label_time", Float),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("name", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
)

# One row each, from the migration on.
periodic_tasks = Table(
    "periodic_tasks",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("done_at", Float),
)

# Append-only; `hash` covers the entry and the hash before it.
audit = Table(
    "audit",
    metadata,
    Column(
        "sequence",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("at", Float, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("content", JSON, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
