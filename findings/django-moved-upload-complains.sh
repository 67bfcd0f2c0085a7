#!/bin/sh
# Django's uploaded file, once it was moved into storage and nobody refers to it, prints a traceback.
#
# Guess: FileSystemStorage moves a TemporaryUploadedFile instead of copying it, and the file object knows how to live
#   with that: its close() ignores a file that is gone. So it makes no difference whether somebody calls close().
# What happens: without close(), Python's own temporary file is collected, tries to remove the file, and prints
#   "Exception ignored in ... FileNotFoundError" with a traceback to stderr. It cannot be caught. Django closes the files
#   of a form at the end of the request, so that only code which makes such a file itself meets this.
# Why it matters: a service that makes uploads of request bodies (bare recordings) writes a traceback for each call
#   into its log, and a test suite that treats warnings as errors fails somewhere else, whenever memory is collected.
#
# Found with Django 5.2.19 (PyPI) and Python 3.11 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq Django==5.2.19
cat >"$work/run.py" <<'END'
import gc
import io
import sys
import tempfile
from contextlib import redirect_stderr

import django
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import TemporaryUploadedFile

settings.configure()
print("Django", django.__version__, "Python", sys.version.split()[0])


def stderr_of(*, closes):
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()) as told:
        upload = TemporaryUploadedFile("call.wav", "audio/wav", 0, None)
        upload.write(b"sound")
        upload.flush()
        upload.seek(0)
        FileSystemStorage(location=folder).save("call.wav", upload)
        if closes:
            upload.close()
        del upload
        gc.collect()
        return told.getvalue()


quiet, loud = stderr_of(closes=True), stderr_of(closes=False)
print("with close():", repr(quiet))
print("without close():", loud.strip().splitlines()[-1] if loud else "''")
assert quiet == ""
assert "FileNotFoundError" in loud
print("as found: without close() a traceback is printed")
END
"$work/venv/bin/python" "$work/run.py"
