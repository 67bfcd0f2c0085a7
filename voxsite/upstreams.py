"""The upstreams of the chat endpoint, read from the environment: APEX_UPSTREAM_*, then APEX_UPSTREAM_2_* to _9_*."""

from typing import Any

from voxsite import env

MAX_UPSTREAMS = 9


def configured() -> list[dict[str, Any]]:
    """Return the configuration of each upstream that has an address, in the order in which they are tried."""
    prefixes = ["APEX_UPSTREAM", *(f"APEX_UPSTREAM_{number}" for number in range(2, MAX_UPSTREAMS + 1))]
    return [
        {
            "name": f"upstream-{number}",
            "base_url": env.text(f"{prefix}_BASE_URL").rstrip("/"),
            "api_key": env.text(f"{prefix}_API_KEY"),
            # Names of the models at this upstream, where they differ: {"deepseek/deepseek-v3.2": "deepseek-chat"}.
            "model_names": env.json_value(f"{prefix}_MODEL_NAMES", default={}),
        }
        for number, prefix in enumerate(prefixes, start=1)
        if env.text(f"{prefix}_BASE_URL")
    ]
