"""One style sheet for all pages, joined from the files of `static/css`: a page asks once instead of eleven times.

A finder of Django's static files: `collectstatic` collects the joined file, with its hash and compressed, and the
development server makes it anew when one of its sources has changed.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage

BUNDLE = "css/voxsite.css"
# In the order of the cascade.
PARTS = (
    "tokens",
    "base",
    "components",
    "fields",
    "tables",
    "frame",
    "reading",
    "site",
    "pages",
    "billing",
    "chat",
    "print",
)


class BundleFinder(BaseFinder):
    """Finds the joined style sheet, and makes it if it is older than its parts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # In the data folder: the folder of the code may be read-only.
        self._folder = Path(settings.DATA_DIR) / "static"
        self._sources = [Path(settings.BASE_DIR) / "static" / "css" / f"{part}.css" for part in PARTS]

    def check(self, **_: Any) -> Any:
        return []

    def find(self, path: str, find_all: bool = False, **_: Any) -> Any:
        """Return the file's address on the disk, a list of it for `find_all`, and an empty list for another file."""
        if path != BUNDLE:
            return []
        made = str(self._made())
        return [made] if find_all else made

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, FileSystemStorage]]:
        self._made()
        yield BUNDLE, FileSystemStorage(location=str(self._folder))

    def _made(self) -> Path:
        bundle = self._folder / BUNDLE
        changed_at = max(source.stat().st_mtime_ns for source in self._sources)
        if not bundle.exists() or bundle.stat().st_mtime_ns != changed_at:
            text = "\n".join(source.read_text() for source in self._sources)
            bundle.parent.mkdir(parents=True, exist_ok=True)
            unfinished = bundle.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            unfinished.write_text(text)
            # The time of its newest part. Two threads make the same file, and a reader sees a whole one.
            os.utime(unfinished, ns=(changed_at, changed_at))
            unfinished.replace(bundle)
        return bundle
