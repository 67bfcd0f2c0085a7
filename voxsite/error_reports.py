"""Reports of errors to a server that speaks Sentry's protocol, where the operator names one.

Sentry's package would patch Django and RQ, and send what a request carried: addresses with signatures, forms, keys.
Here it reads only what is logged as an error, and of each report goes out what `_reduced` lets through.
"""

import os
import tomllib
from pathlib import Path
from typing import Any

from accounts import log_context

_PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
# Of an event, by the names of https://develop.sentry.dev/sdk/foundations/transport/event-payloads/.
_SENT = (
    *("event_id", "timestamp", "platform", "level", "logger", "logentry", "exception", "threads", "sdk"),
    *("release", "environment", "server_name", "modules", "contexts"),
)


def begin(dsn: str, *, environment: str) -> None:
    """Report errors of this process, and of its forks, to the address `dsn`. Raises ValueError for a bad address.

    Does nothing without an address. Nothing is sent before the first error, and no thread is started.
    """
    if not dsn:
        return
    # Only now: it takes 10 MB.
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.dedupe import DedupeIntegration
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration
    from sentry_sdk.utils import BadDsn

    try:
        sentry_sdk.init(
            dsn=dsn,
            environment=environment,
            release=f"voxsite@{tomllib.loads(_PROJECT.read_text())['project']['version']}",
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[
                LoggingIntegration(level=None),
                DedupeIntegration(),
                ExcepthookIntegration(),
                AtexitIntegration(callback=lambda *_: None),
            ],
            before_send=_reduced,
            # Variables hold keys, texts and forms.
            include_local_variables=False,
            send_default_pii=False,
            max_breadcrumbs=0,
            auto_session_tracking=False,
            send_client_reports=False,
        )
    except BadDsn as error:
        raise ValueError(str(error)) from error


def _reduced(event: Any, hint: Any) -> Any:
    """Return what of an event is sent. The ids of what the process works on become tags, by which reports are found."""
    tags = dict(log_context.ids_now())
    if program := os.environ.get("SUPERVISOR_PROCESS_NAME"):
        tags["program"] = program
    return {name: event[name] for name in _SENT if name in event} | {"tags": tags}
