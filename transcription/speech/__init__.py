"""Speech recognition: audio in, transcript out. Knows no Django, no HTTP and no money.

`pipeline.run` does the whole transcription. The web process needs only `probing.probe_in_child`.
This package imports none of its modules, so that importing one of them loads only that one.
"""

import os

# Since 1.29, onnxruntime for Linux reports what it runs to its maker, from its import on: it keeps a number of the
# machine in the home folder, an open database there and a thread. It asks this once, when it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
