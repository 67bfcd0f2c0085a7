import pytest
from django.core.checks import WARNING, run_checks

from transcription.speech import confinement
from voxsite import checks


def ids(settings, **changed):
    for name, value in changed.items():
        setattr(settings, name, value)
    return {message.id for message in checks.production_is_complete(None)}


@pytest.mark.django_db
def test_no_command_begins_with_a_warning_on_either_database():
    found = run_checks(databases=["default"])
    assert [message for message in found if message.level >= WARNING and not message.is_silenced()] == []


@pytest.mark.parametrize("missing", [[], ["Landlock"], ["seccomp", "Landlock"]])
def test_kernel_without_a_layer_of_confinement_is_named(monkeypatch, missing):
    monkeypatch.setattr(confinement, "missing_layers", lambda: missing)
    found = [message.msg for message in checks.decoders_are_confined(None)]
    assert len(found) == len(missing)
    assert all(layer in text for layer, text in zip(missing, found, strict=True))


def test_development_may_use_every_embedded_part(settings):
    assert ids(settings, DEVELOPMENT=True) == set()


def test_production_refuses_every_embedded_part(settings):
    settings.DATABASE_URL = ""
    found = ids(
        settings,
        DEVELOPMENT=False,
        ENGINE="auto",
        EMAIL_HOST="",
        DEBUG=True,
        REDIS_URL=f"unix://{settings.DATA_DIR}/redis.sock",
        ALLOWED_PRIVATE_ADDRESSES=["127.0.0.1:9000"],
    )
    assert found == {f"voxsite.E{number:03}" for number in (1, 2, 3, 4, 5, 14)}


def test_whole_production_is_silent_but_for_a_chosen_weak_engine(settings):
    settings.DATABASE_URL = "postgres://db/voxsite"
    whole = {"DEVELOPMENT": False, "EMAIL_HOST": "mail", "DEBUG": False, "REDIS_URL": "redis://cache:6379/0"}
    assert ids(settings, ENGINE="pocketsphinx", **whole) == {"voxsite.I001"}


def test_engine_that_is_not_there_is_refused(settings):
    assert checks.engine_is_known(None) == []
    settings.ENGINE = "imagined"
    assert [message.id for message in checks.engine_is_known(None)] == ["voxsite.E007"]


def test_prices_must_be_whole_and_positive(settings):
    assert checks.prices_are_known(None) == []
    settings.MODEL_NAMES = {}
    settings.PRICES_PER_HOUR_MICROS = {"a": 0, "b": 0.3, "c": 5}
    assert len(checks.prices_are_known(None)) == 2


def test_folder_without_a_model_is_pointed_out(settings, tmp_path):
    settings.ENGINE = "faster_whisper"
    settings.WHISPER_MODELS = {"standard": str(tmp_path), "premium": "large-v3"}
    assert [message.id for message in checks.whisper_models_are_there(None)] == ["voxsite.I002"]
    (tmp_path / "model.bin").touch()
    assert checks.whisper_models_are_there(None) == []


@pytest.mark.parametrize(
    ("key", "secret", "found"),
    [
        ("sk_live_1", "whsec_1", []),
        ("", "", ["voxsite.I003"]),
        ("sk_live_1", "", ["voxsite.E008"]),
        ("", "whsec_1", ["voxsite.E008"]),
    ],
)
def test_payments_are_set_up_whole_or_not_at_all(settings, key, secret, found):
    settings.STRIPE_API_KEY, settings.STRIPE_WEBHOOK_SECRET = key, secret
    assert [message.id for message in checks.payments_are_whole(None)] == found


def test_sandbox_is_refused_outside_development(settings):
    assert checks.sandbox_is_out_of_reach(None) == []
    # The addresses are routed in this process, as they never are in production.
    settings.STRIPE_SANDBOX = False
    assert [message.id for message in checks.sandbox_is_out_of_reach(None)] == ["voxsite.E009"]
    settings.STRIPE_SANDBOX, settings.DEVELOPMENT = True, False
    assert [message.id for message in checks.sandbox_is_out_of_reach(None)] == ["voxsite.E009"]


def test_names_of_models_must_stand_for_models_of_ours_at_whole_prices(settings):
    settings.MODEL_NAMES = {"whisper-1": ("standard", 0), "nova-*": ("gone", None)}
    assert [error.id for error in checks.prices_are_known(None)] == ["voxsite.E006", "voxsite.E013"]


KEY = "0" * 64


@pytest.mark.parametrize(
    ("given", "is_fine"),
    [
        ({}, True),
        ({"ENGINE_LISTEN": "tcp://0.0.0.0:5590"}, False),
        ({"ENGINE_LISTEN": "tcp://0.0.0.0:5590", "ENGINE_SECRET_KEY": KEY, "ENGINE_CLIENTS": [KEY]}, True),
        ({"ENGINE_ADDRESSES": [f"tcp://{KEY}@gpu:5590"]}, False),
        ({"ENGINE_ADDRESSES": [f"tcp://{KEY}@gpu:5590"], "ENGINE_CLIENT_SECRET_KEY": KEY}, True),
        ({"ENGINE_ADDRESSES": ["tcp://gpu:5590"], "ENGINE_CLIENT_SECRET_KEY": KEY}, False),
        ({"ENGINE_CLIENT_SECRET_KEY": "secret"}, False),
    ],
)
def test_engines_of_other_hosts_need_keys_on_both_sides(settings, given, is_fine):
    for name, value in given.items():
        setattr(settings, name, value)
    found = checks.engines_have_keys(None)
    assert ({one.id for one in found} == set()) == is_fine
    assert "secret'" not in "".join(one.msg for one in found)
