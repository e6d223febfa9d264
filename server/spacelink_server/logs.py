"""What a server logs, and how."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How to log.

    Attributes:
        level: "debug", "info", "warning" or "error".
        format: "text" for people, or "json" for machines: an object on each line.
    """

    level: str = "info"
    format: str = "text"


class JsonFormatter(logging.Formatter):
    """Writes a record as a JSON object on one line.

    It has time (RFC 3339, UTC), level, logger and message; worker, where there
    are several; exception, where there is one: the traceback.
    """

    def __init__(self, worker: str = "") -> None:
        """Make it for a process; see start_logging."""
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        time = datetime.fromtimestamp(record.created, UTC)
        fields = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._worker:
            fields["worker"] = self._worker
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def start_logging(settings: LogSettings, worker: str = "") -> None:
    """Log to standard error.

    Args:
        settings: how.
        worker: tells processes apart; empty where there is one only.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(worker) if settings.format == "json" else _text_formatter(worker))
    logging.basicConfig(level=settings.level.upper(), handlers=[handler])
    for chatty in ("alembic", "psycopg"):
        logging.getLogger(chatty).setLevel(logging.ERROR)


def _text_formatter(worker: str) -> logging.Formatter:
    who = f"{worker} " if worker else ""
    return logging.Formatter(f"%(asctime)s {who}%(levelname)s %(name)s: %(message)s")
