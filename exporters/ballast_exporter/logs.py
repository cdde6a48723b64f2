"""Logs to stderr: one event a line, as logfmt or JSON."""

import logging
import sys

import structlog
from structlog.typing import Processor

from ballast_exporter.config import LogConfig


def configure(config: LogConfig) -> None:
    """Set up this process's logging."""
    last: tuple[Processor, ...] = (structlog.processors.JSONRenderer(),)
    if config.format == "logfmt":
        last = (
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        )
    else:
        last = (structlog.processors.dict_tracebacks, *last)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[config.level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
