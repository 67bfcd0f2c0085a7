"""What the engine process made of "auto": a value that it writes to a file and other processes read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

WHISPER = "faster_whisper"
# The engine that works on any machine without a download. English only.
LAST_RESORT = "pocketsphinx"


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that was found, or that is expected while it is still looked for.

    engine: its short name. is_final: false while a model is looked for, downloaded and loaded.
    received_bytes, total_bytes: of the download; 0 if they are not known.
    labels: public names of models that stand in for others, by the source that was asked for.
    reason: why Whisper is not used, in sentences for an operator; "" if it is.
    """

    engine: str
    is_final: bool = True
    received_bytes: int = 0
    total_bytes: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def is_download(self) -> bool:
        return not self.is_final and self.total_bytes > 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Choice:
        """Rebuild a choice from `to_json()`. Raises ValueError for anything else."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or fields.get("engine") not in {WHISPER, LAST_RESORT}:
            raise ValueError("not a choice of an engine")
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError("not a choice of an engine") from error
