"""What can go wrong with an upstream, in the words of `accounts.errors`. Nothing of its credentials gets in here."""

from accounts.errors import BadRequest, InvalidField, NotConfigured, RateLimited, UpstreamFailed


class UnknownModel(InvalidField):
    """There is no such model in the catalogue."""

    def __init__(self, model: str, *, known: list[str]) -> None:
        super().__init__("model", f"There is no model '{model[:64]}'. Models: {', '.join(known)}.")


class NoUpstream(NotConfigured):
    """The operator has not named an upstream."""

    default_message = "The chat endpoint is not configured."


class UpstreamRefused(BadRequest):
    """The upstream found a fault in the request itself: a prompt that is too long, a tool without a name."""

    default_type = "refused_by_model"
    default_message = "The model's provider refused this request."


class UpstreamBusy(RateLimited):
    """Every upstream says that it has too much to do."""

    default_type = "upstream_busy"

    def __init__(self, *, retry_after: int) -> None:
        super().__init__(retry_after=retry_after)
        self.message = f"The model is busy. Nothing was charged; try again in {retry_after} seconds."


class TooManyOpen(RateLimited):
    """The organization has as many completions open as it may."""

    default_type = "too_many_open"

    def __init__(self, *, most: int) -> None:
        super().__init__(retry_after=1)
        self.message = f"Your organization has {most} completions open, and may have no more at once. Let one end."


class UpstreamBroken(UpstreamFailed):
    """No upstream gave a usable answer."""

    default_message = "The model's provider failed. Nothing was charged; try again."


class UpstreamSilent(UpstreamFailed):
    """No upstream answered in time."""

    default_type = "upstream_timeout"
    default_message = "The model's provider did not answer in time. Nothing was charged; try again."


class StreamBroke(UpstreamFailed):
    """The upstream failed in the middle of its answer: what came before was produced, and is charged."""

    default_message = "The model's provider failed in the middle of its answer. What came before it is charged."
