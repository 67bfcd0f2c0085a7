"""An engine process that diarizes: `python -m tests.gpu.engine_process ADDRESS PIPELINE`."""

import sys

from transcription.speech import registry
from transcription.speech.diarizers import service
from transcription.speech.engines import host
from transcription.speech.engines.recogniser import Recogniser
from transcription.speech.engines.service import OneAtATime
from transcription.speech.engines.shelf import Shelf

if __name__ == "__main__":
    shelf = Shelf({"standard": ""}, registry.engine_loader("pocketsphinx"))
    diarizing = OneAtATime(service.KIND, service.pyannote(sys.argv[2], device="cpu"), max_frame_bytes=1024)
    host.serve(Recogniser(shelf), diarizing, address=sys.argv[1])
