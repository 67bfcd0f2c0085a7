"""An engine process that diarizes: `python -m tests.gpu.engine_process ADDRESS PIPELINE`."""

import sys

from transcription.speech import registry
from transcription.speech.diarizers import service, spool
from transcription.speech.engines import protocol, server
from transcription.speech.engines.model_cache import ModelCache
from transcription.speech.engines.recogniser import Recogniser
from transcription.speech.engines.service import SerialService

if __name__ == "__main__":
    models = ModelCache({"standard": ""}, registry.engine_loader("pocketsphinx"))
    recordings = service.Recordings(folder=protocol.socket_path(sys.argv[1]).parent, max_seconds=3600)
    make_handler = service.pyannote_handler(sys.argv[2], recordings=recordings, device="cpu")
    diarizing = SerialService(service.KIND, make_handler, max_frame_bytes=spool.PART_BYTES, at_once=recordings.take)
    server.serve(Recogniser(models), diarizing, address=sys.argv[1])
