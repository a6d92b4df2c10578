"""Structured logs: one JSON object a line on stderr, UTC, with the ids that are bound; never a
payload value.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure(level: str, **bound: str | int) -> None:
    """Send structlog and the standard library's loggers through one formatter. `bound` is in every
    line of this process.
    """
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
    # Celery says every two seconds that it looked whether a trigger is due.
    for talkative in ("alembic", "celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(talkative).setLevel("WARNING")
    structlog.contextvars.bind_contextvars(**bound)
