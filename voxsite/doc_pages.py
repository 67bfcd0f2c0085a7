"""The pages of the docs in their order: what is on each, and which operations of the API it describes.

The texts are in templates/site/docs/, a file for each section. Its id is the anchor that links use, and unique in all
pages, so that an anchor alone says where a section is.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser

from django.urls import reverse

from accounts.error_types import UNREADABLE_TYPES, ErrorType
from voxsite import guides


@dataclass(frozen=True, slots=True)
class DocPage:
    """One page. slug: "" for the first one. operations: their ids, in the order in which a program calls them."""

    slug: str
    title: str
    lead: str
    sections: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return reverse("docs-page", args=[self.slug]) if self.slug else reverse("docs")


@dataclass(frozen=True, slots=True)
class Link:
    """A place in the contents."""

    path: str
    title: str


@dataclass(frozen=True, slots=True)
class Found:
    """A section for the search. text: all that it says."""

    path: str
    page: str
    title: str
    text: str


GUIDE = (
    DocPage(
        "",
        "Quick start",
        "Send a recording, poll until it is done, read the result.",
        sections=("start", "speakers", "formats"),
    ),
    DocPage(
        "keys",
        "Keys and browsers",
        "API keys and their scopes, and calls from browsers.",
        sections=("keys", "browsers"),
    ),
    DocPage(
        "recordings",
        "Recordings",
        "Files, links and batches of 10,000.",
        sections=("uploads", "urls", "batches"),
    ),
    DocPage(
        "results", "Lists and retention", "Find jobs, and delete them automatically.", sections=("listing", "retention")
    ),
    DocPage(
        "webhooks",
        "Webhooks",
        "Your server is notified when a job ends or the balance changes.",
        sections=("webhooks",),
    ),
    DocPage("errors", "Errors", "What error responses look like, and what to do.", sections=("errors",)),
    DocPage("limits", "Limits and prices", "Rate limits, size limits and prices.", sections=("limits", "prices")),
)
APIS = (
    DocPage(
        "native",
        "Transcription API",
        "Our own API, with every feature.",
        operations=(
            *("create_transcription", "get_job", "watch_job", "get_result", "get_result_text", "get_result_document"),
            *("upload_file", "estimate", "list_jobs", "list_items", "get_status", "cancel_job", "delete_job"),
            *("list_models", "list_languages", "list_webhook_keys"),
        ),
    ),
    DocPage(
        "account",
        "Account API",
        "Balance, usage, limits, keys and tokens, for programs.",
        operations=(
            *("get_balance", "get_usage", "list_products"),
            *("get_automatic_topup", "set_automatic_topup", "delete_automatic_topup"),
            *("get_limits", "set_limit", "get_alerts", "set_alerts"),
            *("create_key", "list_keys", "get_key", "change_key", "rotate_key", "revoke_key"),
            *("create_token", "list_tokens", "get_token", "revoke_token"),
            *("health_retrieve", "health_ready_retrieve", "health_serving_retrieve"),
        ),
    ),
    DocPage(
        "chat",
        "Chat API",
        "Chat completions for any OpenAI client, from the same balance.",
        sections=("chat",),
        operations=("create_chat_completion", "list_chat_models"),
    ),
    DocPage(
        "openai",
        "OpenAI’s audio API",
        "For programs that use OpenAI’s packages or API.",
        sections=("openai", "other-apis"),
        operations=("openai_create_transcription", "openai_create_translation"),
    ),
    DocPage(
        "deepgram",
        "Deepgram’s API",
        "Recordings for programs that call /v1/listen.",
        operations=(*("deepgram_listen", "deepgram_list_projects", "deepgram_get_project", "deepgram_list_balances"),),
    ),
    DocPage(
        "voxnexus",
        "VoxNexus’s API",
        "Recordings for programs that call /v1/stt.",
        operations=("voxnexus_speech_to_text",),
    ),
    DocPage(
        "transcribeapi",
        "TranscribeAPI’s API",
        "Recordings, large files and batches for programs made for TranscribeAPI.",
        operations=(
            *("transcribeapi_transcribe", "transcribeapi_create_job", "transcribeapi_upload_urls"),
            *("transcribeapi_resume_upload", "transcribeapi_upload_completed", "transcribeapi_get_job"),
            *("transcribeapi_get_result", "transcribeapi_read_result", "transcribeapi_add_funds"),
            *("transcribeapi_webhook_keys", "transcribeapi_webhook_keys_at_root"),
        ),
    ),
    DocPage(
        "asr",
        "whisper-asr-webservice’s API",
        "Recordings for Bazarr, Speakr and others that call /asr.",
        operations=("asr_transcribe", "asr_detect_language"),
    ),
)
PAGES = (*GUIDE, *APIS)

# What a request can be refused for: (status, types, meaning).
ERRORS: tuple[tuple[int, tuple[ErrorType, ...], str], ...] = (
    (
        400,
        (
            ErrorType.MISSING_FIELD,
            ErrorType.UNKNOWN_FIELD,
            ErrorType.INVALID_FIELD,
            ErrorType.INVALID_OPTION,
            ErrorType.UNKNOWN_LANGUAGE,
        ),
        "A field is missing, unknown or wrong. The message names it",
    ),
    (
        400,
        (ErrorType.INVALID_REQUEST, ErrorType.UNSUPPORTED_MEDIA_TYPE),
        "The endpoint cannot read this kind of body",
    ),
    (400, (*UNREADABLE_TYPES, ErrorType.AUDIO_TOO_LONG), "The recording cannot be read, or is longer than 10 hours"),
    (
        401,
        (ErrorType.MISSING_API_KEY, ErrorType.INVALID_API_KEY),
        "No API key, or one that is wrong, expired or revoked",
    ),
    (402, (ErrorType.INSUFFICIENT_BALANCE,), "The balance is too low. The body contains the amounts"),
    (402, (ErrorType.SPEND_LIMIT_REACHED,), "The monthly limit of the key, token or organization is reached"),
    (402, (ErrorType.WALLET_FROZEN,), "The balance is on hold, because a payment is disputed"),
    (403, (ErrorType.INSUFFICIENT_SCOPE,), "The key does not have a scope that the request needs"),
    (
        403,
        (ErrorType.EMAIL_NOT_VERIFIED, ErrorType.FORBIDDEN),
        "No owner has verified an email address, or it is not allowed",
    ),
    (
        404,
        (ErrorType.JOB_NOT_FOUND, ErrorType.FILE_NOT_FOUND, ErrorType.NOT_FOUND),
        "Your organization has no such job, file or other object",
    ),
    (404, (ErrorType.RESULT_NOT_FOUND,), "There is no result yet, or it was deleted"),
    (405, (ErrorType.METHOD_NOT_ALLOWED,), "The endpoint does not support this method"),
    (408, (ErrorType.REQUEST_TIMEOUT,), "The body came too slowly"),
    (
        409,
        (ErrorType.IDEMPOTENCY_KEY_REUSED, ErrorType.IDEMPOTENCY_KEY_IN_USE),
        "The Idempotency-Key is of another request, or in use",
    ),
    (409, (ErrorType.CONFLICT, ErrorType.JOB_HAS_ENDED), "The request conflicts with the current state"),
    (413, (ErrorType.BODY_TOO_LARGE,), "The recording or the body is too large"),
    (
        429,
        (ErrorType.RATE_LIMITED, ErrorType.TOO_MANY_OPEN),
        "Too many requests or uploads. Wait for the seconds in Retry-After",
    ),
    (500, (ErrorType.INTERNAL_ERROR,), "An error on our side. Nothing was charged"),
    (502, (ErrorType.UPSTREAM_FAILED,), "The model behind chat failed. Nothing was charged"),
    (
        503,
        (ErrorType.NO_ROOM, ErrorType.UNAVAILABLE, ErrorType.NOT_CONFIGURED),
        "We are busy, or a part is not set up. Nothing was stored",
    ),
    (504, (ErrorType.TIMED_OUT,), "It took too long and was canceled. Nothing was charged"),
)
RECORDING_TYPES = (*UNREADABLE_TYPES, ErrorType.AUDIO_TOO_LONG)


def named(slug: str) -> DocPage | None:
    """Return the page of this name, None if there is none. The first page has no name."""
    return next((page for page in PAGES if page.slug and page.slug == slug), None)


def contents() -> list[tuple[str, list[Link]]]:
    """Return the contents: (group, places), in reading order."""
    coming = [Link(reverse("coming-from", args=[guide.slug]), guide.origin) for guide in guides.GUIDES]
    groups = (("Guide", GUIDE), ("APIs", APIS))
    return [
        *((name, [Link(page.path, page.title) for page in pages]) for name, pages in groups),
        ("Coming from", coming),
    ]


def neighbors(path: str) -> tuple[Link | None, Link | None]:
    """Return the places before and after a page."""
    places = [place for _, group in contents() for place in group]
    at = next(index for index, place in enumerate(places) if place.path == path)
    return (places[at - 1] if at else None, places[at + 1] if at + 1 < len(places) else None)


def sections_of(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield (id, heading, text) of each section of a page in HTML."""
    for found in re.finditer(r'<section class="docs-row" id="([^"]+)">(.*?)</section>', page, re.DOTALL):
        heading = re.search(r"<h[23][^>]*>(.*?)</h[23]>", found[2], re.DOTALL)
        title = _Text.of(heading[1]) if heading else found[1]
        yield found[1], title, _Text.of(found[2])


class _Text(HTMLParser):
    """Collects the text of a piece of HTML, without the words on buttons."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._is_in_button = False

    @classmethod
    def of(cls, piece: str) -> str:
        parser = cls()
        parser.feed(piece)
        return " ".join(html.unescape(" ".join(parser.pieces)).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_in_button |= tag == "button"

    def handle_endtag(self, tag: str) -> None:
        self._is_in_button &= tag != "button"

    def handle_data(self, data: str) -> None:
        if not self._is_in_button:
            # Apart, since the cells of a table have no blank between them.
            self.pieces.append(data)
