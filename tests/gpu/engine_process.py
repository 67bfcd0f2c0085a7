"""An engine process that diarizes: `python -m tests.gpu.engine_process ADDRESS PIPELINE`."""

import sys

from transcription.speech import registry
from transcription.speech.diarizers import service
from transcription.speech.engines import server
from transcription.speech.engines.model_cache import ModelCache
from transcription.speech.engines.recogniser import Recogniser
from transcription.speech.engines.service import SerialService

if __name__ == "__main__":
    models = ModelCache({"standard": ""}, registry.engine_loader("pocketsphinx"))
    diarizing = SerialService(service.KIND, service.pyannote_handler(sys.argv[2], device="cpu"), max_frame_bytes=1024)
    server.serve(Recogniser(models), diarizing, address=sys.argv[1])
