from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest

from spacelink_server.logs import JsonFormatter


def record(message: str, *arguments: object, **attributes: Any) -> logging.LogRecord:
    made = logging.LogRecord("spacelink_server.x", logging.WARNING, __file__, 1, message, arguments, None)
    made.__dict__.update(attributes)
    return made


def test_a_record_is_an_object() -> None:
    found = json.loads(JsonFormatter().format(record("%s is %d", "answer", 42, created=1_700_000_000.25)))
    assert found == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "spacelink_server.x",
        "message": "answer is 42",
    }


@pytest.mark.parametrize("text", ["two\nlines", 'a "quoted" word', "\u2028 \x00 \ud800", "{}"])
def test_any_text_stays_on_its_line(text: str) -> None:
    line = JsonFormatter("worker-3").format(record("%s", text))
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == text
    assert json.loads(line)["worker"] == "worker-3"


def test_an_exception_comes_with_its_traceback() -> None:
    try:
        {}["why"]
    except KeyError:
        line = JsonFormatter().format(record("failed", exc_info=sys.exc_info()))
    assert len(line.splitlines()) == 1
    assert json.loads(line)["exception"].startswith("Traceback (most recent call last):")
    assert "KeyError: 'why'" in json.loads(line)["exception"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_process_logs_in_its_form(form: str) -> None:
    code = (
        "import logging\n"
        "from spacelink_server.logs import LogSettings, start_logging\n"
        f"start_logging(LogSettings('info', '{form}'), 'worker-1')\n"
        "logging.getLogger('a.b').info('said %s', 'so')\n"
        "logging.getLogger('a.b').debug('not this')\n"
        "logging.getLogger('alembic.x').warning('nor this')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    if form == "text":
        assert line.endswith(" worker-1 INFO a.b: said so")
    else:
        found = json.loads(line)
        assert datetime.fromisoformat(found.pop("time")).utcoffset() is not None
        assert found == {"level": "info", "logger": "a.b", "message": "said so", "worker": "worker-1"}
