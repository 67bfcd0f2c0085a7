"""The background thread of a running site: it runs scheduled actions and sends webhooks over HTTP."""

import logging
import threading
import time
from urllib.parse import urlsplit

import requests
from django.conf import settings

from billing.sandbox import payment_actions, webhook_sender
from billing.sandbox.store import Store

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.5


def wake() -> None:
    """Make sure that the thread runs until nothing is scheduled or unsent. Each process has its own thread."""
    if settings.STRIPE_SANDBOX_SENDS_WEBHOOKS:
        _thread.wake()


class _BackgroundThread:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self.has_new_work = False

    def wake(self) -> None:
        with self.lock:
            self.has_new_work = True
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self.run, name="payment sandbox", daemon=True)
                self.thread.start()

    def run(self) -> None:
        store = Store(settings.STRIPE_SANDBOX_FILE)
        while True:
            # The response to the request that caused an event must leave before the event's webhook arrives.
            time.sleep(INTERVAL_SECONDS)
            self.has_new_work = False
            try:
                with store.transaction() as state:
                    payment_actions.run_scheduled_actions(state)
                remaining = webhook_sender.send_due(store, post=_post)
            except Exception:
                logger.exception("The payment sandbox failed to send webhooks. It will try again.")
                remaining = 1
            with self.lock:
                if remaining == 0 and not self.has_new_work:
                    self.thread = None
                    return


_thread = _BackgroundThread()


def _post(body: str, headers: dict[str, str]) -> int:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104 - asked on loopback
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.PORT}/stripe/webhook"
    # The site accepts only its own host name (ALLOWED_HOSTS).
    headers = {**headers, "Host": urlsplit(settings.SITE_URL).netloc}
    try:
        response = requests.post(
            url, data=body.encode(), headers=headers, timeout=webhook_sender.TIMEOUT_SECONDS, allow_redirects=False
        )
    except requests.RequestException as error:
        logger.warning("The payment sandbox could not reach %s: %s", url, type(error).__name__)
        return 0
    return response.status_code
