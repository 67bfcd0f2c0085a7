"""The faces of the API: which dialect answers under which prefix, in whose words, and how large its bodies may be.

Pure: modules are named by dotted path and imported when they are used, so that a new dialect is one line here.
"""

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """One dialect as the outside sees it.

    prefix: the path under which it answers; of several that fit, the longest counts. show_error: dotted name of a
    function (error, *, request_id) -> JSON value. show_webhook: dotted name of a function
    (job, *, event, site_url) -> JSON object that shows a finished job to a webhook, "" where the dialect has none.
    webhook_signer: how that webhook is signed, a name of `webhooks.signatures.SIGNERS`. max_bytes, open_bytes,
    unsized_bytes: the largest body; of a stranger; and of unannounced size; what the body guard takes by default where
    None. needs_key: False where a signature in the address stands for the key. waits: whether its views return a
    LaterResponse. rate_scopes: the rate limits that its uploads count against, names of settings.RATE_LIMITS.
    key_schemes: schemes of the header Authorization in which the key may come. too_large_status: the HTTP status of a
    body that is too large.
    """

    name: str
    prefix: str
    show_error: str
    show_webhook: str = ""
    webhook_signer: str = "standard"
    max_bytes: int | None = None
    open_bytes: int | None = None
    unsized_bytes: int | None = None
    needs_key: bool = True
    waits: bool = False
    rate_scopes: tuple[str, ...] = ("requests", "uploads")
    key_schemes: tuple[str, ...] = ("Bearer",)
    too_large_status: int = 413

    def load(self, dotted_name: str) -> Any:
        """Return what a dotted name of this face stands for."""
        module, _, name = dotted_name.rpartition(".")
        return getattr(import_module(module), name)


NATIVE = Face(
    name="native",
    prefix="/v1/",
    show_error="accounts.gate.native.native_error",
    show_webhook="transcription.dialects.native.answers.show_webhook",
)
OPENAI = Face(
    name="openai",
    prefix="/v1/audio/",
    show_error="transcription.dialects.openai.wire.show_error",
    # 25 MiB in base64, and what a form or a JSON body has around it.
    max_bytes=36 * 1024**2,
    unsized_bytes=36 * 1024**2,
    waits=True,
    rate_scopes=("requests",),
)
VOXNEXUS = Face(
    name="voxnexus",
    prefix="/v1/stt",
    show_error="transcription.dialects.voxnexus.wire.show_error",
    waits=True,
    rate_scopes=("requests",),
)
# The two addresses of one dialect.
ASR = Face(
    name="asr",
    prefix="/asr",
    show_error="transcription.dialects.asr.wire.show_error",
    key_schemes=("Bearer", "Basic"),
    waits=True,
    rate_scopes=("requests",),
)
ASR_DETECTION = replace(ASR, name="asr-detection", prefix="/detect-language")
# Its clients send recordings of any size in chunks, without Content-Length.
DEEPGRAM = Face(
    name="deepgram",
    prefix="/v1/listen",
    show_error="transcription.dialects.deepgram.wire.show_error",
    unsized_bytes=2 * 1024**3,
    key_schemes=("Token", "Bearer"),
    waits=True,
    rate_scopes=("requests",),
)
# Deepgram's command line asks for these first.
DEEPGRAM_PROJECTS = replace(DEEPGRAM, name="deepgram-projects", prefix="/v1/projects", unsized_bytes=None, waits=False)
# A file of 30 MiB, and what a form has around it. A larger body gets 400 here, as its documentation says.
TRANSCRIBEAPI = Face(
    name="transcribeapi",
    prefix="/transcribeapi/",
    show_error="transcription.dialects.transcribeapi.errors.show_error",
    show_webhook="transcription.dialects.transcribeapi.results.show_webhook",
    webhook_signer="transcribeapi",
    max_bytes=32 * 1024**2,
    unsized_bytes=32 * 1024**2,
    too_large_status=400,
    waits=True,
    rate_scopes=("requests",),
)
FACES = (NATIVE, OPENAI, VOXNEXUS, ASR, ASR_DETECTION, DEEPGRAM, DEEPGRAM_PROJECTS, TRANSCRIBEAPI)


def face_of(path: str, *, faces: tuple[Face, ...] = FACES) -> Face | None:
    """Return the face that answers at a path, None for a page."""
    fitting = [face for face in faces if path.startswith(face.prefix)]
    return max(fitting, key=lambda face: len(face.prefix), default=None)
