#!/bin/sh
# redis-py loads OpenTelemetry's SDK wherever it is installed, although nobody has turned its metrics on.
#
# Guess: redis-py 7 can measure itself with OpenTelemetry. That is off by default, and `import redis` costs nothing of it.
# What happens: `redis.observability.providers` imports `opentelemetry.sdk.metrics` in a try block when it is loaded, and
#   `redis.client` loads it. Without the package that fails in silence. With it, some sixty modules are loaded.
# Why it matters: whoever installs OpenTelemetry for one purpose, traces of a web process for example, pays with time and
#   memory in every process that imports redis-py, workers and command lines too.
#
# Found with redis 7.4.1 and opentelemetry-sdk 1.45.2 in 2026-12.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq redis==7.4.1
cat >"$work/load.py" <<'END'
import sys
import time

started = time.process_time()
import redis

found = sum(name.split(".")[0] == "opentelemetry" for name in sys.modules)
print(f"redis {redis.__version__}: {time.process_time() - started:.2f} s, {found} modules of OpenTelemetry")
END
"$work/venv/bin/python" "$work/load.py"
without=$("$work/venv/bin/python" "$work/load.py" | sed 's/.*, //')
"$work/venv/bin/pip" install -qq opentelemetry-sdk==1.45.2
"$work/venv/bin/python" "$work/load.py"
with=$("$work/venv/bin/python" "$work/load.py" | sed 's/.*, //')
[ "$without" = "0 modules of OpenTelemetry" ] && [ "$with" != "$without" ] || { echo "not as found"; exit 1; }
