"""The world of the tests: a data folder of their own and a Redis, made before the settings are read (see addopts)."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from voxsite.serve import embedded_redis

os.environ.setdefault("VOXSITE_ENV", "development")
# Tests pay in the sandbox, whatever the shell that starts them is set up for.
for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"):
    os.environ.pop(name, None)
# With it Django would let a synchronous database call block the event loop, here and in the products under test.
os.environ.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)

if "PYTEST_XDIST_WORKER" not in os.environ:
    folder = Path(tempfile.mkdtemp(prefix="voxsite-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["VOXSITE_TEST_DIR"] = str(folder)

worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
os.environ["VOXSITE_DATA_DIR"] = str(Path(os.environ["VOXSITE_TEST_DIR"]) / worker)

if not os.environ.get("REDIS_URL"):
    process, os.environ["REDIS_URL"] = embedded_redis.start(Path(os.environ["VOXSITE_TEST_DIR"]))
    atexit.register(embedded_redis.stop, process)

# Every worker has a Redis database of its own, counted up from the one that is named: tests empty it.
parts = urlsplit(os.environ["REDIS_URL"])
if parts.scheme == "unix":
    os.environ["REDIS_URL"] = f"unix://{parts.path}?db={worker}"
else:
    number = int(parts.path.strip("/") or 0) + int(worker)
    os.environ["REDIS_URL"] = parts._replace(path=f"/{number}").geturl()
