"""faster-whisper itself, beside which the product is measured."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# The first line of a peer's process is "ready", after it has loaded the model; then it answers a line with a line.
# What a user would run: a warm model in a process of its own, on the same cores and with the same precision.
PEER = """
import json, sys, time
from faster_whisper import BatchedInferencePipeline, WhisperModel
model = WhisperModel(sys.argv[1], device="cpu", compute_type=sys.argv[2])
batched = BatchedInferencePipeline(model)
options = {"vad_filter": True, "word_timestamps": True}
acts = {
    "whole": lambda path: batched.transcribe(path, batch_size=8, **options),
    "single": lambda path: model.transcribe(path, **options),
}
print("ready", flush=True)
for line in sys.stdin:
    act, paths = json.loads(line)
    started, cpu = time.perf_counter(), time.process_time()
    texts = [" ".join(segment.text.strip() for segment in acts[act](path)[0]) for path in paths]
    answer = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "texts": texts}
    print(json.dumps(answer), flush=True)
"""
# As the engine runs: on a busy machine, other programs must slow both in the same way.
NICENESS = 5


class Peer:
    """faster-whisper in a process of its own, warm."""

    def __init__(self, model: Path, *, compute_type: str) -> None:
        self.process = subprocess.Popen(
            ["nice", "-n", str(NICENESS), sys.executable, "-c", PEER, str(model), compute_type],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # By default its threads spin while they wait, and beside other programs a clip takes several times as long.
            env={"OMP_WAIT_POLICY": "PASSIVE", **os.environ},
        )
        assert self._read() == "ready"

    def transcribe(self, act: str, paths: list[Path]) -> dict[str, Any]:
        """Return {"seconds", "cpu", "texts"}. act: "whole" (batched) or "single"."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([act, list(map(str, paths))]) + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self._read()))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()
