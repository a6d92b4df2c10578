"""Structured logs: one JSON object a line on stderr, UTC, with bound ids and no values of rows."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(level: str, **bound: str | int) -> None:
    """Format structlog and the standard library's loggers alike; `bound` is in every line."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Without the local variables, which hold rows.
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        ),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # Celery logs every periodic task, each two seconds.
    for name in ("alembic", "celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(name).setLevel("WARNING")
    structlog.contextvars.bind_contextvars(**bound)
