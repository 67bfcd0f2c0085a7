"""The sandbox's own time in a running site: a thread that lets plans happen and carries webhooks over HTTP."""

import logging
import threading
import time
from urllib.parse import urlsplit

import requests
from django.conf import settings

from billing.sandbox import payment_actions, webhook_sender
from billing.sandbox.store import Store

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5


def wake() -> None:
    """See to it that what is waiting is carried, by a thread of this process that ends when nothing is left."""
    if settings.STRIPE_SANDBOX_COURIER:
        _rounds.wake()


class _Rounds:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self.is_asked = False

    def wake(self) -> None:
        with self.lock:
            self.is_asked = True
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self.work, name="sandbox rounds", daemon=True)
                self.thread.start()

    def work(self) -> None:
        store = Store(settings.STRIPE_SANDBOX_FILE)
        while True:
            # Not before the answer of the request that caused it has had time to get out.
            time.sleep(PAUSE_SECONDS)
            self.is_asked = False
            try:
                with store.change() as state:
                    payment_actions.carry_out_plans(state)
                left = webhook_sender.carry(store, post=_post)
            except Exception:
                logger.exception("The sandbox's courier failed; it will try again.")
                left = 1
            with self.lock:
                if left == 0 and not self.is_asked:
                    self.thread = None
                    return


_rounds = _Rounds()


def _post(body: str, headers: dict[str, str]) -> int:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.PORT}/stripe/webhook"
    # The site answers to its own name only.
    headers = {**headers, "Host": urlsplit(settings.SITE_URL).netloc}
    try:
        answer = requests.post(
            url, data=body.encode(), headers=headers, timeout=webhook_sender.PATIENCE_SECONDS, allow_redirects=False
        )
    except requests.RequestException as error:
        logger.warning("The sandbox could not reach %s: %s", url, type(error).__name__)
        return 0
    return answer.status_code
