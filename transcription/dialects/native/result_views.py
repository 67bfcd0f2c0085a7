"""The addresses of transcripts: the result of a job in every format."""

from dataclasses import replace

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import NotFound
from accounts.gate import authentication
from accounts.gate.native import NativeGateView, error_responses
from transcription import jobs
from transcription.dialects import steps
from transcription.dialects.native import answers, batch, schema, values, wire
from transcription.jobs import archives
from transcription.models import Job
from transcription.speech import formats
from transcription.speech.formats.options import FormatOptions
from transcription.speech.transcript import Transcript

# A generated client reads each address by one type: JSON without an extension, a file of bytes, and text.
DOCUMENT = "docx"
TEXT_FORMATS = tuple(name for name in formats.FORMATS if name not in ("json", DOCUMENT))


class ResultView(NativeGateView):
    """The transcript of a completed job."""

    @extend_schema(
        operation_id="get_result",
        summary="Get a result",
        tags=["Transcription"],
        parameters=[schema.ITEM, schema.ORIGINAL],
        responses={200: schema.Result, **error_responses(400, 401, 403, 404, 409, 429)},
    )
    def get(self, request: Request, job_id: str) -> HttpResponseBase:
        """The transcript of a job with one recording. Of a batch, the JSON result has all `items` in their order, each
        with its own `result`, or null and an `error`.

        With `?format=txt`, `srt`, `vtt`, `tsv` or `docx` the answer is that of `/v1/jobs/{job_id}/result.txt` and so
        on, the addresses for clients that are generated from this document.
        """
        wanted, options = wire.read_format(request.query_params)
        return _answer(request, job_id, caller=self.caller, wanted=wanted, options=options)


class ResultTextView(NativeGateView):
    """The transcript of a completed job as text or subtitles."""

    @extend_schema(
        operation_id="get_result_text",
        summary="Get a result as text or subtitles",
        tags=["Transcription"],
        parameters=[
            OpenApiParameter("extension", OpenApiTypes.STR, OpenApiParameter.PATH, enum=TEXT_FORMATS),
            schema.ITEM,
            schema.ORIGINAL,
            *schema.FORMAT_OPTIONS,
        ],
        responses={
            **{(200, formats.FORMATS[name].content_type.partition(";")[0]): OpenApiTypes.STR for name in TEXT_FORMATS},
            **error_responses(400, 401, 403, 404, 409, 429),
        },
    )
    def get(self, request: Request, job_id: str, extension: str) -> HttpResponseBase:
        """The transcript as plain text (`txt`), subtitles (`srt`, `vtt`) or a table (`tsv`). Of a batch, `item` says
        whose.
        """
        wanted, options = wire.read_format({**request.query_params.dict(), "format": extension})
        return _answer(request, job_id, caller=self.caller, wanted=wanted, options=options)


class ResultDocumentView(NativeGateView):
    """The transcript of a completed job as a document."""

    @extend_schema(
        operation_id="get_result_document",
        summary="Get a result as a document",
        tags=["Transcription"],
        parameters=[schema.ITEM, schema.ORIGINAL, *schema.FORMAT_OPTIONS],
        responses={
            (200, formats.FORMATS[DOCUMENT].content_type): OpenApiTypes.BINARY,
            # openapi-python-client (0.29) knows no other type of bytes, and takes the first type that it knows.
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
            **error_responses(400, 401, 403, 404, 409, 429),
        },
    )
    def get(self, request: Request, job_id: str) -> HttpResponseBase:
        """The transcript as a document of a word processor. Of a batch, `item` says whose."""
        wanted, options = wire.read_format({**request.query_params.dict(), "format": DOCUMENT})
        return _answer(request, job_id, caller=self.caller, wanted=wanted, options=options)


def _answer(
    request: Request, job_id: str, *, caller: authentication.Caller, wanted: str, options: FormatOptions
) -> HttpResponseBase:
    job = steps.find_job(caller, job_id)
    position = batch.read_item(request.query_params)
    is_original = values.flag(request.query_params, "original", default=False)
    if position is None and job.item_count > 1 and wanted == "json":
        read = jobs.original_of_item if is_original else jobs.transcript_of_item
        document = archives.pieces(batch.document(job, archives.results(job, read=read)))
        return steps.send_whole_result(job, document=document, headers_only=request.method == "HEAD")
    transcript = retrieve(request, job, position=position)
    if is_original:
        original = jobs.original_of_item(jobs.items_page(job, position=position or 0, limit=1)[0])
        transcript = replace(original, title=transcript.title)
    if wanted == "json":
        return Response(answers.show_result(transcript, job=job))
    shape = formats.FORMATS[wanted]
    name = job.id if position is None else f"{job.id}-{position + 1}"
    return HttpResponse(
        shape.render(transcript, options=options),
        content_type=shape.content_type,
        headers={"Content-Disposition": f'attachment; filename="{name}.{shape.extension}"'},
    )


def retrieve(request: Request, job: Job, *, position: int | None = None) -> Transcript:
    """Return the result of a job, or of one of its items, with its title. To ask for its headers is no retrieval."""
    if position is None:
        transcript = jobs.transcript_of(job) if request.method == "HEAD" else jobs.retrieve(job)
        return replace(transcript, title=job.name)
    item = next(iter(jobs.items_page(job, position=position, limit=1)), None)
    if item is None:
        raise NotFound(f"The job has {job.item_count} items.", error_type="result_not_found")
    transcript = jobs.transcript_of_item(item) if request.method == "HEAD" else jobs.retrieve_item(item)
    return replace(transcript, title=item.name)
