"""Recordings: accept an upload, probe it, store it, fetch it for work, delete it, sweep what was left behind."""

from transcription.recordings.form_uploads import accept, accepted
from transcription.recordings.names import display_name, stem
from transcription.recordings.storage import (
    accept_file,
    accept_stored,
    discard,
    local_path,
    read_part,
    remove_empty_folder,
    remove_file,
    remove_files,
    require_room,
    require_stored,
)
from transcription.recordings.sweeping import stray_files, sweep

__all__ = [
    "accept",
    "accept_file",
    "accept_stored",
    "accepted",
    "discard",
    "display_name",
    "local_path",
    "read_part",
    "remove_empty_folder",
    "remove_file",
    "remove_files",
    "require_room",
    "require_stored",
    "stem",
    "stray_files",
    "sweep",
]
