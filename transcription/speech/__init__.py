"""Speech recognition: audio in, transcript out. Knows no Django, no HTTP and no money.

`pipeline.run` does the whole transcription. The web process needs only `probing.probe_in_child`.
This package imports nothing itself, so that importing one of its modules loads only that module.
"""
