"""How processes log: lines for people, or JSON for what collects logs. Both have the ids of what they are about."""

import logging
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS

from voxsite import env

LINES, JSON = "lines", "json"

# Attributes that become no field. `ids` has the same again; Django's request shows a query, which may be a credential.
_UNSHOWN = ("ids", "request", "server_time", "sinfo")


class AddsProgram(logging.Filter):
    """Says in each record which process of the server logs. For JSON; the supervisor puts it before lines itself.

    Read for each record: the supervisor names a process after it has loaded the settings.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the record's `program`, where the supervisor has given one."""
        if program := env.text("SUPERVISOR_PROCESS_NAME"):
            record.program = program
        return True


def config(*, log_format: str) -> dict[str, Any]:
    """Return the settings of `logging.config.dictConfig`. log_format: LINES or JSON."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            LINES: {"format": "{asctime} {levelname} {name}:{ids} {message}", "style": "{"},
            JSON: {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": ["levelname", "name", "message"],
                "rename_fields": {"levelname": "level", "name": "logger", "exc_info": "traceback"},
                # In UTC, by ISO 8601.
                "timestamp": "time",
                "reserved_attrs": [*RESERVED_ATTRS, *_UNSHOWN],
                "json_ensure_ascii": False,
            },
        },
        "filters": {
            "ids": {"()": "accounts.log_context.AddsIds"},
            "program": {"()": "voxsite.logs.AddsProgram"},
            "without_traceback": {"()": "django.utils.log.CallbackFilter", "callback": _without_traceback},
        },
        "handlers": {
            "console": {"class": "logging.StreamHandler", "formatter": log_format, "filters": ["ids", "program"]}
        },
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            **{name: {"level": "INFO"} for name in ("accounts", "apex", "billing", "transcription", "voxsite")},
            # By default Django mails every response of 500 or more to ADMINS, for example each probe of an unready
            # site, and the response waits for the mail server.
            "django": {"handlers": [], "level": "INFO"},
            # Anybody can send a request with an unknown Host: a line for each is enough.
            "django.security.DisallowedHost": {"filters": ["without_traceback"]},
        },
    }


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True
