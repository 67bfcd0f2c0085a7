"""The unmodified `openai` package, with nothing changed but its base URL and key."""

import asyncio
import html
import importlib
import subprocess
import sys

import pytest
import requests

pytestmark = [pytest.mark.enable_socket, pytest.mark.timeout(600)]

HELLO = [{"role": "user", "content": "normal 5"}]
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def openai():
    """The package. To import it takes a second, which is no matter of the processes that run none of these tests."""
    return importlib.import_module("openai")


@pytest.fixture
def client(openai, site, key):
    with openai.OpenAI(base_url=f"{site.address}/v1/apex", api_key=key, max_retries=0) as client:
        yield client


def test_whole_answer(client):
    answer = client.chat.completions.create(model="apex-latest", messages=HELLO, max_tokens=100, temperature=0.3)
    assert answer.choices[0].message.content == "word0 word1 word2 word3 word4"
    assert answer.usage.total_tokens == 23


def test_stream(client):
    stream = client.chat.completions.create(
        model="apex-latest", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).split()[-1] == "word4"
    assert chunks[-1].usage.completion_tokens == 5


def test_tools(client):
    answer = client.chat.completions.create(
        model="apex-latest", messages=[{"role": "user", "content": "tools"}], tools=[TOOL]
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"


def test_streamed_tools_through_its_helper(client):
    messages = [{"role": "user", "content": "tools"}]
    with client.chat.completions.stream(model="apex-latest", messages=messages, tools=[TOOL]) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city": "Paris"}'


def test_models(client):
    assert [model.id for model in client.models.list()] == ["apex-latest"]


def test_asynchronous(openai, site, key):
    async def act():
        async with openai.AsyncOpenAI(base_url=f"{site.address}/v1/apex", api_key=key, max_retries=0) as client:
            whole, stream = await asyncio.gather(
                client.chat.completions.create(model="apex-latest", messages=HELLO),
                client.chat.completions.create(model="apex-latest", messages=HELLO, stream=True),
            )
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
            return whole.choices[0].message.content, text.strip()

    whole, streamed = asyncio.run(act())
    assert whole == streamed == "word0 word1 word2 word3 word4"


@pytest.mark.long
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": "gpt-4"}, "BadRequestError"),
        ({"messages": [{"role": "user", "content": "status 429 9"}]}, "RateLimitError"),
        ({"messages": [{"role": "user", "content": "status 500"}]}, "InternalServerError"),
    ],
)
def test_errors_are_its_own_kinds(openai, client, fields, error):
    with pytest.raises(getattr(openai, error)) as caught:
        client.chat.completions.create(**{"model": "apex-latest", "messages": HELLO, **fields})
    assert caught.value.request_id
    assert caught.value.body["message"]
    client.chat.completions.create(model="apex-latest", messages=HELLO)


def test_wrong_key_is_its_authentication_error(openai, site):
    client = openai.OpenAI(base_url=f"{site.address}/v1/apex", api_key="vxp_live_no", max_retries=0)
    with client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_error_inside_a_stream_is_raised(openai, client):
    stream = client.chat.completions.create(
        model="apex-latest", messages=[{"role": "user", "content": "cut 3"}], stream=True
    )
    with pytest.raises(openai.APIError, match="in the middle"):
        list(stream)


@pytest.mark.long
def test_example_of_the_docs_runs_as_it_stands(site, key):
    page = requests.get(f"{site.address}/docs/chat/", timeout=30).text
    code = html.unescape(page.split('aria-label="Chat in Python"><code>')[1].split("</code>")[0])
    program = code.replace("YOUR_API_KEY", key).replace("Hello", "normal 3")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["word0", "word1", "word2"]


@pytest.mark.long
def test_comments_before_the_first_chunk_are_skipped(client):
    message = {"role": "user", "content": "thinking 9"}
    stream = client.chat.completions.create(model="apex-latest", messages=[message], stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == "word0 word1 word2 "


@pytest.mark.long
def test_error_after_comments_is_raised(client, openai):
    message = {"role": "user", "content": "thinking 60"}
    stream = client.chat.completions.create(model="apex-latest", messages=[message], stream=True)
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.type == "upstream_timeout"


@pytest.mark.long
@pytest.mark.parametrize("name", ["empty-events.sse", "gemini.sse", "anthropic.sse", "deepseek.sse", "openrouter.sse"])
def test_streams_of_every_upstream_are_read(client, name):
    message = {"role": "user", "content": f"recording {name}"}
    options = {"include_usage": True}
    stream = client.chat.completions.create(
        model="apex-latest", messages=[message], stream=True, stream_options=options
    )
    chunks = list(stream)
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "Hello there."
    assert chunks[-1].usage.completion_tokens >= 3
