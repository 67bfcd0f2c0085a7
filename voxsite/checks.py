"""System checks: find wrong settings before the first request, and not after the first loss."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.urls import NoReverseMatch, reverse

from billing import stripe_api
from transcription import recognition
from transcription.speech import confinement, registry
from transcription.speech.engines import curve, protocol
from transcription.speech.errors import EngineUnavailable


def register() -> None:
    checks.register(production_is_complete)
    checks.register(engine_is_known)
    checks.register(whisper_models_are_there)
    checks.register(engines_have_keys)
    checks.register(prices_are_known)
    checks.register(payments_are_whole)
    checks.register(sandbox_is_out_of_reach)
    checks.register(decoders_are_confined, deploy=True)


def production_is_complete(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Report development parts in production."""
    if settings.DEVELOPMENT:
        return []
    found: list[CheckMessage] = []
    if settings.ENGINE == "auto":
        found.append(
            Error(
                "No speech engine is chosen, and production does not fall back to the development one.",
                hint="Set VOXSITE_ENGINE.",
                id="voxsite.E001",
            )
        )
    elif recognition.is_fallback():
        # The operator chose this engine by name, so this is a hint and no error.
        found.append(
            checks.Info(
                "PocketSphinx recognises the speech. It knows only English and makes many mistakes.",
                id="voxsite.I001",
            )
        )
    if not settings.DATABASE_URL or settings.DATABASE_URL.startswith("sqlite"):
        found.append(Error("SQLite is for development.", hint="Set DATABASE_URL to PostgreSQL.", id="voxsite.E002"))
    if str(settings.DATA_DIR) in settings.REDIS_URL:
        found.append(Error("The embedded Redis is for development.", hint="Set REDIS_URL.", id="voxsite.E003"))
    if not settings.EMAIL_HOST:
        found.append(Error("Mail has no server, so nobody can sign up.", hint="Set SMTP_HOST.", id="voxsite.E004"))
    if settings.DEBUG:
        found.append(Error("DEBUG is on in production.", id="voxsite.E005"))
    if settings.ALLOWED_PRIVATE_ADDRESSES:
        found.append(
            Error(
                "Customers may have this site call addresses of its own network.",
                hint="Unset VOXSITE_ALLOW_PRIVATE_ADDRESSES: it is for development and tests.",
                id="voxsite.E014",
            )
        )
    return found


def engine_is_known(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Report an unknown engine."""
    if recognition.engine_name() in registry.ENGINES:
        return []
    return [
        Error(
            f"The speech engine {recognition.engine_name()!r} is not part of this release.",
            hint=f"Set VOXSITE_ENGINE to one of: {', '.join(registry.ENGINES)}.",
            id="voxsite.E007",
        )
    ]


def whisper_models_are_there(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Report model folders without a model. Only a hint, because a host without an engine process needs no model."""
    if settings.ENGINE == "pocketsphinx":
        return []
    return [
        checks.Info(
            f"There is no converted Whisper model for {name!r} in {source}.",
            hint=f"Set VOXSITE_WHISPER_{name.upper()} to a folder that holds model.bin, or to a name on the hub.",
            id="voxsite.I002",
        )
        for name, source in settings.WHISPER_MODELS.items()
        if Path(source).is_absolute() and not (Path(source) / "model.bin").is_file()
    ]


def engines_have_keys(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Report engines over TCP without keys, on the side that listens and on the side that asks."""
    faults = []
    try:
        if settings.ENGINE_LISTEN:
            curve.Listener(settings.ENGINE_LISTEN, settings.ENGINE_SECRET_KEY, settings.ENGINE_CLIENTS)
        if settings.ENGINE_CLIENT_SECRET_KEY:
            curve.to_bytes(settings.ENGINE_CLIENT_SECRET_KEY)
        for address in settings.ENGINE_ADDRESSES:
            curve.to_bytes(protocol.endpoint(address).public_key)
        for key in settings.ENGINE_PUBLIC_KEYS:
            curve.to_bytes(key)
    except EngineUnavailable as error:
        faults.append(error.message)
    if (settings.ENGINE_ADDRESSES or settings.ENGINE_PUBLIC_KEYS) and not settings.ENGINE_CLIENT_SECRET_KEY:
        faults.append("Engines of other hosts need the secret key of a client.")
    hint = "manage.py engine_keys makes keys; docs/operations.md says where they belong."
    return [Error(fault, hint=hint, id="voxsite.E015") for fault in faults]


def prices_are_known(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Report prices that are not positive whole micro-dollars, and names without a model of ours behind them."""
    own = settings.PRICES_PER_HOUR_MICROS
    prices = {**own, **{name: price for name, (_, price) in settings.MODEL_NAMES.items() if price is not None}}
    errors: list[CheckMessage] = [
        Error(f"The price of {model!r} must be a positive whole number of micro-dollars.", id="voxsite.E006")
        for model, price in prices.items()
        if not isinstance(price, int) or price <= 0
    ]
    errors += [
        Error(f"The model {name!r} stands for {model!r}, which is no model of ours.", id="voxsite.E013")
        for name, (model, _) in settings.MODEL_NAMES.items()
        if model not in own
    ]
    return errors


def payments_are_whole(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Report incomplete payment settings. With a key but no webhook secret, customers would pay and get no credit."""
    if stripe_api.is_configured():
        return []
    if not settings.STRIPE_API_KEY and not settings.STRIPE_WEBHOOK_SECRET:
        return [checks.Info("Payments are off: nobody can top up.", hint="Set STRIPE_SECRET_KEY.", id="voxsite.I003")]
    missing = "STRIPE_WEBHOOK_SECRET" if settings.STRIPE_API_KEY else "STRIPE_SECRET_KEY"
    return [Error("Payments are half set up.", hint=f"Set {missing}.", id="voxsite.E008")]


def sandbox_is_out_of_reach(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Report a payment sandbox outside development. Anybody who reached it could give themselves credit."""
    if settings.DEVELOPMENT and settings.STRIPE_SANDBOX:
        return []
    try:
        reverse("sandbox:control")
    except NoReverseMatch:
        if not settings.STRIPE_SANDBOX:
            return []
    return [Error("The payment sandbox is on.", hint="It is for VOXSITE_ENV=development only.", id="voxsite.E009")]


def decoders_are_confined(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Report a kernel that does not offer all layers of the decoders' confinement."""
    return [
        checks.Warning(
            f"This kernel offers no {layer}: a file that takes over a decoder meets fewer obstacles.",
            hint="Run on Linux 5.13 or newer, on x86_64 or aarch64, and allow seccomp and Landlock in containers.",
            id="voxsite.W001",
        )
        for layer in confinement.missing_layers()
    ]
