"""The errors of the chat endpoint, as part of the tree in `accounts.errors`. None carries an upstream's credentials."""

from accounts.errors import BadRequest, InvalidField, NotConfigured, RateLimited, UpstreamFailed, VoxsiteError


class UnknownModel(InvalidField):
    """The catalogue has no such model."""

    def __init__(self, model: str, *, known: list[str]) -> None:
        super().__init__("model", f"There is no model '{model[:64]}'. Models: {', '.join(known)}.")


class NoUpstream(NotConfigured):
    """The operator has not configured an upstream."""

    default_message = "The chat endpoint is not configured."


class UpstreamRefused(BadRequest):
    """The upstream refused the request itself. Examples: the prompt is too long, a tool has no name."""

    default_type = "refused_by_model"
    default_message = "The model's provider refused this request."


class UpstreamBusy(RateLimited):
    """No upstream answered, and the last one said that it is overloaded."""

    default_type = "upstream_busy"

    def __init__(self, *, retry_after: int) -> None:
        super().__init__(retry_after=retry_after)
        self.message = f"The model is busy. Nothing was charged; try again in {retry_after} seconds."


class UpstreamBroken(UpstreamFailed):
    """No upstream gave a valid answer."""

    default_message = "The model's provider failed. Nothing was charged; try again."


class UpstreamSilent(UpstreamFailed):
    """The upstream did not answer in time, or its stream stopped."""

    default_type = "upstream_timeout"
    default_message = "The model's provider did not answer in time. Nothing was charged; try again."


class StreamStopped(VoxsiteError):
    """This server ends, in the middle of an answer. The part before is charged."""

    http_status = 503
    default_type = "unavailable"
    default_message = (
        "This server is being restarted, in the middle of the answer. What came before it is charged; send it again."
    )


class StreamBroke(UpstreamFailed):
    """The upstream failed in the middle of its answer. The part before is charged."""

    default_message = "The model's provider failed in the middle of its answer. What came before it is charged."
