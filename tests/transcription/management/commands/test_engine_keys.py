from __future__ import annotations

from io import StringIO

from django.core.management import call_command

from transcription.speech.engines import curve


def test_keys_fit_each_other_and_are_new_each_time():
    def printed():
        out = StringIO()
        call_command("engine_keys", stdout=out)
        lines = [line for line in out.getvalue().splitlines() if not line.startswith("#")]
        return dict(line.split("=", 1) for line in lines), out.getvalue()

    (first, text), (second, _) = printed(), printed()
    assert first["VOXSITE_ENGINE_CLIENTS"] == curve.public_of(first["VOXSITE_ENGINE_CLIENT_SECRET_KEY"])
    assert f"tcp://{curve.public_of(first['VOXSITE_ENGINE_SECRET_KEY'])}@" in text
    assert not set(first.values()) & set(second.values())
