"""One style sheet for all pages and one script for each, joined from the files of `static/`: a page asks once for each.

A finder of Django's static files: `collectstatic` collects the joined files, with their hash and compressed, and the
development server makes a bundle again when one of its sources has changed.
"""

import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import django_htmx
from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage

STYLES = "css/voxsite.css"
COMMENT = re.compile(r"/\*.*?\*/\s*", re.DOTALL)
HTMX = "htmx"
_OF_MEMBERS = ("voxsite", HTMX)
# Each joined file with its parts: files of `static/css` in the order of the cascade, or of `static/js`.
BUNDLES: dict[str, tuple[str, ...]] = {
    STYLES: (
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
    ),
    "js/member.js": _OF_MEMBERS,
    "js/transcript-page.js": (*_OF_MEMBERS, "transcript", "transcript_editing", "transcript_search"),
    "js/upload-page.js": (*_OF_MEMBERS, "kept_files", "upload", "recorder"),
    "js/playground-page.js": (*_OF_MEMBERS, "playground"),
    "js/top-up-page.js": (*_OF_MEMBERS, "top_up"),
    "js/docs-page.js": ("voxsite", "docs"),
    "js/landing-page.js": ("voxsite", "sample"),
}


class BundleFinder(BaseFinder):
    """Finds joined files, and makes one if it is older than its parts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # In the data folder: the folder of the code may be read-only.
        self._folder = Path(settings.DATA_DIR) / "static"
        self._code = Path(settings.BASE_DIR) / "static"

    def check(self, **_: Any) -> Any:
        return []

    def find(self, path: str, find_all: bool = False, **_: Any) -> Any:
        """Return the file's address on the disk, a list of it for `find_all`, and an empty list for another file."""
        if path not in BUNDLES:
            return []
        made = str(self._made(path))
        return [made] if find_all else made

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, FileSystemStorage]]:
        for path in BUNDLES:
            self._made(path)
            yield path, FileSystemStorage(location=str(self._folder))

    def _made(self, path: str) -> Path:
        bundle, sources = self._folder / path, [self._source(path, part) for part in BUNDLES[path]]
        changed_at = max(source.stat().st_mtime_ns for source in sources)
        if not bundle.exists() or bundle.stat().st_mtime_ns != changed_at:
            if path == STYLES:
                # Comments are a fifth of its bytes on the wire. No string in our styles contains "/*".
                text = "\n".join(COMMENT.sub("", source.read_text()) for source in sources)
            else:
                # A part may end without a semicolon.
                text = ";\n".join(source.read_text() for source in sources)
            bundle.parent.mkdir(parents=True, exist_ok=True)
            unfinished = bundle.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            unfinished.write_text(text)
            # The time of its newest part. Two threads make the same file, and a reader sees a whole one.
            os.utime(unfinished, ns=(changed_at, changed_at))
            unfinished.replace(bundle)
        return bundle

    def _source(self, path: str, part: str) -> Path:
        if part == HTMX:
            # The version that the tag `htmx_script` of django-htmx takes by default.
            return Path(django_htmx.__file__).parent / "static" / "django_htmx" / "htmx-2.min.js"
        kind = path.partition("/")[0]
        return self._code / kind / f"{part}.{kind}"
