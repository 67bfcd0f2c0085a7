"""The engine that workers use: it sends clips to the engine process and holds no model."""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from transcription.speech import errors
from transcription.speech.engines import language, protocol
from transcription.speech.engines.base import Recognition, StreamedClip, check_languages
from transcription.speech.engines.client import (
    FAILOVER_SECONDS,
    POLL_SECONDS,
    EngineClient,
    Member,
    Roster,
    fixed,
    has_model,
    health,
)
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import BYTES_PER_SAMPLE, Samples, samples_to_ms

__all__ = ["RemoteEngine", "health"]

TIMEOUT_SECONDS = 300.0
# The clips of one recording go to so many processes at once, and have so many bytes in a worker that waits for them.
# One process gets what it asks for in any case.
MAX_PROCESSES = 16
MAX_BYTES_IN_FLIGHT = 256 << 20


class RemoteEngine:
    """Implements `engines.base.Engine` and `StreamingEngine` by requests to the engine process.

    members: addresses of processes, each as `protocol.endpoint` reads it, or a function that returns who is there now.
    Clips go to the least busy of several, those of a long recording to many at once. What a process that dies has
    not answered goes to another one. secret_key: of this client, for addresses over TCP.
    model: a name that the engine process knows; "" means its default. job_id: for fairness between jobs.
    priority: one of `protocol.PRIORITIES`.
    should_stop: called at least every half second. Stopped is raised when it returns true; its exceptions pass through.
    timeout_seconds: after this time without any engine process, all methods and properties raise EngineUnavailable.
    failover_seconds: after this silence the next of several addresses is used.
    """

    def __init__(
        self,
        members: str | Sequence[str] | Roster,
        *,
        model: str = "",
        job_id: str = "",
        priority: str = "standard",
        should_stop: Callable[[], bool] = lambda: False,
        timeout_seconds: float = TIMEOUT_SECONDS,
        failover_seconds: float = FAILOVER_SECONDS,
        secret_key: str = "",
    ) -> None:
        self._is_fixed = not callable(members)
        self._roster = members if callable(members) else fixed([members] if isinstance(members, str) else members)
        self._model, self._job_id, self._priority = model, job_id, priority
        self._should_stop = should_stop
        self._timeout_seconds, self._failover_seconds = timeout_seconds, failover_seconds
        self._secret_key = secret_key
        self._client: EngineClient | None = None
        self._known_info: dict[str, Any] | None = None
        self._loaded_at = ""  # address of the process that told it

    @property
    def name(self) -> str:
        return str(self._info()["name"])

    @property
    def languages(self) -> frozenset[str] | None:
        languages = self._info()["languages"]
        return None if languages is None else frozenset(languages)

    @property
    def max_clip_ms(self) -> int:
        return int(self._info()["max_clip_ms"])

    @property
    def pause_ms(self) -> int:
        return int(self._info()["pause_ms"])

    @property
    def packed_ms(self) -> int:
        return int(self._info()["packed_ms"])

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._info()["notes"])

    @property
    def supported_options(self) -> frozenset[str]:
        return frozenset(self._info()["supported_options"])

    def recognise(self, clips: Sequence[Samples], *, options: TranscriptionOptions) -> list[Recognition]:
        """See `Engine.recognise`. Errors of the engine process are rebuilt and raised here."""
        return list(self.stream(map(StreamedClip, clips), options=replace(options, mixed_languages=True)))

    def stream(self, clips: Iterable[StreamedClip], *, options: TranscriptionOptions) -> Iterator[Recognition]:
        """See `StreamingEngine.stream`. Closing the iterator early cancels its requests in the engine process."""
        info = self._info()
        check_languages(options, languages=self.languages, engine=self.name)
        client = self._connected()
        stream = _ClipStream(client, options, header=self._request_header())
        source = iter(clips)
        is_over = False
        try:
            while not (is_over and stream.is_done):
                wait_seconds = 0.0
                if not is_over and self._wants_more(client, stream, in_flight=int(info["in_flight"])):
                    clip = next(source, None)
                    if clip is None:
                        is_over = True
                    else:
                        stream.send(clip)
                elif not len(client):
                    stream.decide()
                else:
                    wait_seconds = 2 * POLL_SECONDS
                answer = client.receive(wait_seconds=wait_seconds)
                if answer is not None:
                    stream.add_answer(*answer)
                yield from stream.ready()
        finally:
            client.cancel()

    def close(self) -> None:
        """Cancel all requests and close the connection. The next call opens a new one."""
        if self._client is not None:
            self._client.cancel()
            self._client.close()

    def _request_header(self) -> dict[str, Any]:
        return {"kind": "recognise", "job": self._job_id, "priority": self._priority, "model": self._model}

    def _wants_more(self, client: EngineClient, stream: _ClipStream, *, in_flight: int) -> bool:
        """Tell whether to cut and send another clip now."""
        if len(client) < in_flight:
            return True
        return len(client) < client.capacity and stream.bytes_in_flight < MAX_BYTES_IN_FLIGHT

    def _connected(self) -> EngineClient:
        if self._client is None:
            in_flight = int(self._info()["in_flight"])
            self._client = EngineClient(
                self._roster,
                timeout_seconds=self._timeout_seconds,
                failover_seconds=self._failover_seconds,
                should_stop=self._should_stop,
                model=self._model,
                loaded_at=self._loaded_at,
                spread=MAX_PROCESSES,
                in_flight=in_flight,
                secret_key=self._secret_key,
            )
        return self._client

    def _info(self) -> dict[str, Any]:
        """Return the properties of the engine (`protocol.description`), asked once. Waits while the model loads."""
        if self._known_info is None:
            self._known_info = self._asked_info()
        return self._known_info

    def _asked_info(self) -> dict[str, Any]:
        members = self._first_members()
        alive_at = time.monotonic()
        failures: dict[str, errors.EngineUnavailable] = {}  # by address
        while True:
            if self._should_stop():
                raise errors.Stopped
            left = alive_at + self._timeout_seconds - time.monotonic()
            if left <= 0:
                raise errors.EngineUnavailable
            if not members:
                members = list(self._roster())
                if failures and all(member.address in failures for member in members):
                    raise next(iter(failures.values()))
                if not members:  # none has told that it is there
                    time.sleep(min(POLL_SECONDS, left))
                    continue
            address = members[0].address
            state = None
            if address not in failures:
                state = self._ask(address, max(0.05, min(0.5, left)), model=self._model)
            if state is None:
                members = members[1:]
                continue
            failure = self._failure(state)
            if failure is not None:
                failures[address] = failure
                continue
            alive_at = time.monotonic()
            info: dict[str, Any] | None = state["engines"].get(self._model) if self._model else state["engine"]
            if info is not None:
                self._loaded_at = address
                return info
            time.sleep(0.05)

    def _first_members(self) -> list[Member]:
        """Return the processes in the order in which to ask them: first those that have the model, so none loads it."""
        members = list(self._roster())
        if len(members) < 2:
            return members
        if self._is_fixed:
            sorted_members = by_load(members, job_id=self._job_id, model=self._model, ask=self._ask)
            self._roster = lambda: sorted_members
            return sorted_members
        if self._model:
            members = [
                member if member.has_model is not None else asked(member, model=self._model, ask=self._ask)
                for member in members
            ]
        return sorted(members, key=lambda member: not member.has_model)

    def _ask(self, address: str, timeout_seconds: float, model: str = "") -> dict[str, Any] | None:
        return health(address, timeout_seconds, model=model, secret_key=self._secret_key)

    def _failure(self, state: dict[str, Any]) -> errors.EngineUnavailable | None:
        """Return the error if the model is unknown there or did not load, None if it has it or may have it soon."""
        if not self._model or state["engines"].get(self._model) is not None:
            return None
        model = state["models"].get(self._model)
        if model is None:
            return errors.EngineUnavailable(f"The engine has no model {self._model!r}.")
        return errors.EngineUnavailable(model["message"] or None) if model["state"] == "failed" else None


Ask = Callable[[str, float], dict[str, Any] | None]


def by_load(members: Sequence[Member], *, job_id: str, model: str = "", ask: Ask = health) -> list[Member]:
    """Return engine processes, with their waiting requests, sorted by them. The job id decides between equals.

    model: those that have loaded it come first; "" for the default, which all have.
    ask: returns the health of a process, as `client.health`. One that does not answer comes last.
    """
    first = zlib.crc32(job_id.encode()) % len(members)
    found = [asked(member, model=model, ask=ask) for member in [*members[first:], *members[:first]]]
    return sorted(found, key=lambda member: (bool(model) and not member.has_model, member.waiting))


def asked(member: Member, *, model: str, ask: Ask) -> Member:
    """Return what a process says of itself: how busy it is, and whether it has the model."""
    state = ask(member.address, POLL_SECONDS)
    if state is None:
        return Member(member.address, waiting=1 << 30, batch=1)
    return Member(
        member.address,
        waiting=int(state["waiting"]),
        batch=int((state.get("engine") or {}).get("max_batch", 1)),
        has_model=has_model(state, model=model) if model else None,
    )


class _ClipStream:
    """The requests for the clips of one recording. A clip is sent again if it is to be written in another language."""

    def __init__(self, client: EngineClient, options: TranscriptionOptions, *, header: dict[str, Any]) -> None:
        self._client, self._options, self._header = client, options, header
        self._choice = language.LanguageChoice(options)
        self._numbers: dict[str, int] = {}  # request id -> number of the clip
        self._frames: dict[int, bytes] = {}  # kept until the recognition of the clip is final
        self._named: set[int] = set()  # clips without an answer that have no vote
        self._voters: deque[int] = deque()  # clips that have not voted yet, in order
        self._heard: dict[int, Recognition] = {}
        self._verdicts: dict[int, language.Verdict] = {}  # of clips that were sent again
        self._final: dict[int, Recognition] = {}
        self._sent = self._done = 0

    @property
    def bytes_in_flight(self) -> int:
        """Of the clips whose recognition is not final."""
        return sum(map(len, self._frames.values()))

    @property
    def is_done(self) -> bool:
        return self._done == self._sent

    def send(self, clip: StreamedClip) -> None:
        """Send the next clip."""
        self._frames[self._sent] = protocol.pack_clip(clip.samples)
        if clip.language is None:
            self._voters.append(self._sent)
            self._submit(self._sent, self._options)
        else:
            self._named.add(self._sent)
            self._submit(self._sent, replace(self._options, language=clip.language))
        self._sent += 1

    def add_answer(self, request_id: str, answer: dict[str, Any]) -> None:
        """Take an answer into account."""
        number = self._numbers.pop(request_id)
        recognition = protocol.recognition_from_list(answer["recognition"])
        if number in self._verdicts:
            self._finish(self._verdicts.pop(number), again=recognition)
            return
        if number in self._named:
            self._named.remove(number)
            self._frames.pop(number)
            self._final[number] = recognition
            return
        self._heard[number] = recognition
        while self._voters and (heard := self._heard.get(self._voters[0])) is not None:
            voter = self._voters.popleft()
            length_ms = samples_to_ms(len(self._frames[voter]) // BYTES_PER_SAMPLE)
            self._follow(self._choice.add(heard, number=voter, length_ms=length_ms))

    def decide(self) -> None:
        """Decide on the language by the answers so far: no clip is under way, and none follows."""
        self._follow(self._choice.finish())

    def ready(self) -> Iterator[Recognition]:
        """Yield the next recognitions in order, as far as they are final."""
        while self._done in self._final:
            yield self._final.pop(self._done)
            self._done += 1

    def _follow(self, verdicts: Iterable[language.Verdict]) -> None:
        for verdict in verdicts:
            if verdict.accepts(self._heard[verdict.number]):
                self._finish(verdict)
            else:
                self._verdicts[verdict.number] = verdict
                self._submit(verdict.number, replace(self._options, language=verdict.language))

    def _finish(self, verdict: language.Verdict, *, again: Recognition | None = None) -> None:
        self._final[verdict.number] = language.written(self._heard.pop(verdict.number), verdict, again)
        self._frames.pop(verdict.number)

    def _submit(self, number: int, options: TranscriptionOptions) -> None:
        message = {**self._header, "options": options.to_dict()}
        self._numbers[self._client.submit(message, [self._frames[number]])] = number
