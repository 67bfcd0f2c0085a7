"""The waiting step: a call that is answered when its transcription has ended, for dialects that have no jobs.

A dialect's view derives from `WaitingGateView` with its own `show_error`, and `post` is four steps:

    class ListenView(waiting.WaitingGateView):
        def post(self, request: Request) -> HttpResponseBase:
            asked = wire.read(request.query_params)                                   # read: raises VoxsiteErrors
            submission = steps.submission_of(self.caller, model=asked.model, options=asked.options, dialect=DIALECT)
            return self.answer_when_done(                                             # one call
                submission,
                upload=upload,                                                        # an UploadedFile
                asked=request.query_params,                                           # what tells two requests apart
                show=lambda job, transcript: Response(wire.show(job, transcript)),    # show, in another thread
            )

Its face (`transcription/faces.py`) says `waits=True`. `show` must hold no request, since hundreds may wait. For
server-sent events, `stream_while_running` takes the place of `answer_when_done`.

What callers can rely on, in every dialect (docs/decisions/0032):

* The job is on the interactive queue. While it runs, the call holds a connection, and neither thread nor database
  connection.
* A client that leaves has `DISCONNECT_GRACE_SECONDS` to come back. Then the job is canceled, and costs what was shown.
* After MAX_WAIT_SECONDS the answer is `WaitedTooLong`, and the job is canceled too.
* With an Idempotency-Key, all requests get the answer of one job, those that come while it runs as well. A retry of
  OpenAI's SDKs, which count in `x-stainless-retry-count`, has the same without a key for ten minutes. So has the next
  equal call of the same API key after one whose client left without an answer.
* An error frees the key. `x-should-retry: false` stands where another try cannot help.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponseBase
from rest_framework.request import Request

from accounts.errors import NotConfigured, TooManyOpen, VoxsiteError, WaitedTooLong
from accounts.gate import concurrency, idempotency, shared_slots
from accounts.gate.views import GateView
from transcription.dialects import open_calls
from transcription.dialects.event_stream import EventShow
from transcription.dialects.joining import Call
from transcription.jobs import Submission
from transcription.models import Priority

SLOTS = "waiting requests"
RETRY_COUNT_HEADER = "x-stainless-retry-count"
SHOULD_RETRY_HEADER = "x-should-retry"


class WaitingGateView(GateView):
    """Base class of views that answer when the transcription has ended."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # Before the body is parsed, which may take more memory than the call that is refused.
        limit = settings.MAX_WAITING_CALLS
        if self.may_wait(request) and shared_slots.is_full(
            kind=SLOTS, organization_id=self.caller.organization.pk, limit=limit
        ):
            raise TooManyOpen(SLOTS, limit=limit)

    def may_wait(self, request: Request) -> bool:
        """Tell whether a request may be answered late. False for one that only orders something."""
        return True

    def answer_when_done(
        self,
        submission: Submission,
        *,
        upload: "UploadedFile[Any] | None" = None,
        url: str = "",
        asked: Mapping[str, Any],
        show: open_calls.Show,
        prepare: open_calls.Prepare | None = None,
        handover: open_calls.Handover | None = None,
    ) -> HttpResponseBase:
        """Submit an upload, or the file at a URL, and return the response that comes when its job has ended.

        asked: fields or query parameters of the request. With the path and the upload they tell it from others.
        show: returns the response for the completed job; its errors are shown. Called in a thread.
        prepare: awaited before it, without a thread. The job is charged by then, so it should not fail.
        handover: for a dialect that has jobs: it answers with the job in place of waiting on, and the job runs on.
        Raises what `submissions.submit_file` and `submit_url` raise, and TooManyOpen if the organization has its limit
        of calls open.
        """
        assert (upload is None) == bool(url), "a call has one recording"
        call = self._call(submission, upload=upload, url=url, asked=asked)
        return self._respond_later(open_calls.OpenAnswer(self, call, show=show, prepare=prepare, handover=handover))

    def stream_while_running(
        self,
        submission: Submission,
        *,
        upload: "UploadedFile[Any] | None" = None,
        url: str = "",
        asked: Mapping[str, Any],
        stream: EventShow,
    ) -> HttpResponseBase:
        """Submit a recording and return a stream of server-sent events, which ends when its job has ended.

        Text that leaves is paid (docs/decisions/0028). The other arguments are those of `answer_when_done`.
        """
        assert (upload is None) == bool(url), "a call has one recording"
        call = self._call(submission, upload=upload, url=url, asked=asked)
        return self._respond_later(open_calls.OpenStream(self, call, stream=stream))

    def headers_of_error(self, error: VoxsiteError) -> dict[str, str]:
        return {**super().headers_of_error(error), **({} if retry_helps(error) else {SHOULD_RETRY_HEADER: "false"})}

    def _call(
        self,
        submission: Submission,
        *,
        upload: "UploadedFile[Any] | None",
        url: str = "",
        asked: Mapping[str, Any],
    ) -> Call:
        headers = self.request.headers
        retries = headers.get(RETRY_COUNT_HEADER, "")
        key = idempotency.key_of(self.caller.api_key, headers.get(idempotency.HEADER, ""))
        fields: dict[str, Any] = {name: _all_values(asked, name) for name in asked}
        path = f"{self.request.method} {self.request.get_full_path()}"
        # A digest of the recording takes a second for each gigabyte, so the mark has its size alone.
        recording = url if upload is None else upload.size
        caller = f"{self.caller.organization.pk} {self.caller.api_key and self.caller.api_key.pk}"
        # With a key, a repeat is found by that.
        mark = "" if key else idempotency.fingerprint(f"{caller} {path}", data={**fields, "": recording})
        fingerprint = ""
        if key or retries:
            fingerprint = idempotency.fingerprint(path, data={**fields, "": url if upload is None else upload})
        return Call(
            submission=replace(submission, priority=Priority.INTERACTIVE),
            upload=upload,
            url=url,
            mark=mark,
            key=key,
            fingerprint=fingerprint,
            is_counted=bool(retries),
            # Not int(), which raises an error for a number of thousands of digits.
            is_retry=retries.isdecimal() and bool(retries.strip("0")),
        )

    def _respond_later(self, opened: open_calls.OpenCall) -> HttpResponseBase:
        slot, limit = concurrency.slot_of_request(), settings.MAX_WAITING_CALLS
        if not shared_slots.acquire(slot, kind=SLOTS, organization_id=self.caller.organization.pk, limit=limit):
            opened.let_go_of_body()
            raise TooManyOpen(SLOTS, limit=limit)
        try:
            opened.begin(slot)
        except BaseException:
            slot.release()
            opened.let_go_of_body()
            raise
        if isinstance(self.request._request, ASGIRequest):
            return opened
        # A server without an event loop, such as Django's test client. Its thread waits.
        return opened.respond_here()


def retry_helps(error: VoxsiteError) -> bool:
    """Tell whether the same request may succeed later."""
    if isinstance(error, NotConfigured | WaitedTooLong):
        return False
    return error.http_status in (408, 429) or error.http_status >= 500


def _all_values(asked: Mapping[str, Any], name: str) -> Any:
    return asked.getlist(name) if hasattr(asked, "getlist") else asked[name]
