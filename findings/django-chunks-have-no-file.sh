#!/bin/sh
# Django and DRF under ASGI take a form that comes in chunks for an empty one, although the whole body has been read.
#
# Guess: an upload with `Transfer-Encoding: chunked` has no Content-Length. An ASGI server gives the body in messages, so
#   the framework has the same bytes as always, and the form has the same file.
# What happens: Django reads the whole body into a temporary file and then sees the missing Content-Length as 0. FILES
#   and POST are empty, and nothing is raised or logged. request.read() still returns all bytes. DRF does the same to
#   JSON: request.data is empty.
# Why it matters: OpenAI's package for Node sends createReadStream() in chunks, and so does curl from a pipe. The server
#   answers "file is required" to a request that has the file, after it has spooled up to gigabytes of it.
#
# Found with Django 5.2.19 and Django REST framework 3.18.3 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Django==5.2.19 djangorestframework==3.18.3
cat >run.py <<'END'
import asyncio
import json

import django
import rest_framework
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import JsonResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
)
application = get_asgi_application()
from rest_framework.response import Response
from rest_framework.views import APIView


def form(request):
    return JsonResponse({"files": list(request.FILES), "fields": list(request.POST)})


def read(request):
    return JsonResponse({"bytes": len(request.read())})


class Data(APIView):
    def post(self, request):
        return Response({"data": request.data})


urlpatterns = [path("form", form), path("read", read), path("data", Data.as_view())]
FORM = (b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nbase\r\n--x\r\nContent-Disposition: form-data; '
        b'name="file"; filename="call.wav"\r\nContent-Type: audio/wav\r\n\r\n' + bytes(50_000) + b"\r\n--x--\r\n")
MULTIPART, JSON = "multipart/form-data; boundary=x", "application/json"


def post(address, body, content_type, *, in_chunks):
    size = (b"transfer-encoding", b"chunked") if in_chunks else (b"content-length", str(len(body)).encode())
    scope = {"type": "http", "method": "POST", "path": address, "query_string": b"", "http_version": "1.1",
             "headers": [(b"host", b"x"), (b"content-type", content_type.encode()), size]}
    chunks, sent = [body[n : n + 10_000] for n in range(0, len(body), 10_000)], []

    async def answer():
        async def receive():
            if chunks:
                return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}
            await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        await application(scope, receive, send)

    asyncio.run(answer())
    return sent[0]["status"], json.loads(sent[1]["body"])


print("Django", django.__version__, "DRF", rest_framework.VERSION)
for address, body, content_type, whole, chunked in (
    ("/form", FORM, MULTIPART, {"files": ["file"], "fields": ["model"]}, {"files": [], "fields": []}),
    ("/read", FORM, MULTIPART, {"bytes": len(FORM)}, {"bytes": len(FORM)}),
    ("/data", b'{"model": "base"}', JSON, {"data": {"model": "base"}}, {"data": {}}),
):
    for in_chunks, expected in ((False, whole), (True, chunked)):
        found = post(address, body, content_type, in_chunks=in_chunks)
        print(address, "in chunks" if in_chunks else "with Content-Length", *found)
        assert found == (200, expected), expected
END
venv/bin/python run.py
echo "as found: a form and JSON in chunks are empty, and the bytes are there"
