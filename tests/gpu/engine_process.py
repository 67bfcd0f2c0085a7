"""An engine process that diarizes: `python -m tests.gpu.engine_process ADDRESS PIPELINE`."""

import sys

from transcription.speech import registry
from transcription.speech.diarizers import service
from transcription.speech.engines import server
from transcription.speech.engines.model_cache import Shelf
from transcription.speech.engines.recogniser import Recogniser
from transcription.speech.engines.service import OneAtATime

if __name__ == "__main__":
    shelf = Shelf({"standard": ""}, registry.engine_loader("pocketsphinx"))
    diarizing = OneAtATime(service.KIND, service.pyannote(sys.argv[2], device="cpu"), max_frame_bytes=1024)
    server.serve(Recogniser(shelf), diarizing, address=sys.argv[1])
