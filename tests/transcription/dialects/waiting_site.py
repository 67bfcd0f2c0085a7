"""Addresses of a small dialect that waits, for tests of the waiting step: POST /wait, /stream, /prepare and /fail."""

import asyncio
import json
from dataclasses import dataclass, field

from django.http import HttpResponse
from django.urls import path
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from transcription.dialects import steps, waiting
from transcription.speech.options import TranscriptionOptions


class SmallView(waiting.WaitingGateView):
    parser_classes = [MultiPartParser]

    def show_error(self, error, *, request_id):
        return {"wrong": error.type, "message": error.message, "request": request_id}

    def asked(self, request):
        submission = steps.submission_of(
            self.caller, model="whisper-1", options=TranscriptionOptions(diarize=False), dialect="small"
        )
        return submission, {"upload": steps.one_file(request.FILES), "asked": request.POST}


@dataclass
class Preparation:
    """What `prepare` does with a transcript: it takes until a test lets it end."""

    has_begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)


# Preparations of the next calls of POST /prepare.
preparations: list[Preparation] = []


async def prepare(job, transcript):
    if preparations:
        preparation = preparations.pop(0)
        preparation.has_begun.set()
        await preparation.may_end.wait()


class PreparingView(SmallView):
    def post(self, request):
        submission, asked = self.asked(request)
        return self.answer_when_done(submission, **asked, show=show_json, prepare=prepare)


class FailingView(SmallView):
    def post(self, request):
        submission, asked = self.asked(request)
        return self.answer_when_done(submission, **asked, show=fail_once)


failures: list[Exception] = []


def fail_once(job, transcript):
    if failures:
        raise failures.pop()
    return show_json(job, transcript)


class WaitView(SmallView):
    def post(self, request):
        submission, asked = self.asked(request)
        if request.POST.get("as") == "text":
            return self.answer_when_done(submission, **asked, show=show_text)
        return self.answer_when_done(submission, **asked, show=show_json)


def show_json(job, transcript):
    return Response({"text": transcript.text, "job": str(job.pk)})


def show_text(job, transcript):
    return HttpResponse(transcript.text, content_type="text/plain; charset=utf-8")


class Lines:
    def event(self, event):
        return f"{event.name} {event.data.get('text', '')}\n".encode()

    def end(self, job, transcript):
        return [f"end {transcript.text}\n".encode()]

    def failure(self, error, *, request_id):
        return json.dumps({"wrong": error.type}).encode()


class StreamView(SmallView):
    def post(self, request):
        submission, asked = self.asked(request)
        return self.stream_while_running(submission, **asked, stream=Lines())


# By this name the gate knows which scope of a key they need.
NAME = "v1-transcribe"
urlpatterns = [
    path("wait", WaitView.as_view(), name=NAME),
    path("stream", StreamView.as_view(), name=NAME),
    path("prepare", PreparingView.as_view(), name=NAME),
    path("fail", FailingView.as_view(), name=NAME),
]
