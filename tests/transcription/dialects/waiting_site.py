"""Addresses of a small dialect that waits, for tests of the waiting step: POST /wait and POST /stream."""

import json

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
urlpatterns = [path("wait", WaitView.as_view(), name=NAME), path("stream", StreamView.as_view(), name=NAME)]
