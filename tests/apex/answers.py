"""What the tests of the chat endpoint read in its answers, and what came of a completion in the database."""

import json
from typing import Any

import requests

from tests.apex.site import Site


def chunks(response: requests.Response) -> list[Any]:
    """Return the JSON of every event but the end mark."""
    lines = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def text_of(response: requests.Response) -> str:
    return "".join(
        chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks(response) if chunk.get("choices")
    )


def error_of(response: requests.Response) -> dict[str, Any]:
    """Return the error of a response, after a look at its shape."""
    error = response.json()["error"]
    assert error["code"] == response.status_code
    assert error["request_id"] == response.headers["X-Request-Id"]
    assert "param" in error
    return dict(error)


def assert_charged_once(site: Site, *, micros: int | None = None, **expected: Any) -> dict[str, Any]:
    """Return the newest completion."""
    completion = site.newest()
    assert completion["state"] == "charged", completion
    assert site.charges_of(completion) == [completion["cost_micros"]]
    assert site.held_micros() == 0
    assert micros is None or completion["cost_micros"] == micros
    assert {name: completion[name] for name in expected} == expected
    return completion


def assert_released(site: Site, *, finish: str) -> None:
    completion = site.newest()
    assert (completion["state"], completion["finish"]) == ("released", finish)
    assert site.charges_of(completion) == []
    assert site.held_micros() == 0


def count(site: Site) -> int:
    """Return how many completions there are."""
    return int(site.rows("SELECT count(*) FROM apex_completion")[0][0])
