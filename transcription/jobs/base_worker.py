"""RQ's worker, as the workers and the importer are."""

from rq.worker import Worker as RqWorker


class BaseWorker(RqWorker):
    """Finds Redis again soon, and keeps its command line."""

    # RQ would wait for up to a minute after Redis is back.
    max_connection_wait_time = 1.0

    def procline(self, message: str) -> None:
        """Change no title: people and tests know a process by `voxsite.serve.child` and its name. RQ sets its own."""
