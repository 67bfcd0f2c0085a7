"""What every page knows."""

import pytest

from billing import ledger, statements
from tests.transcription.factories import make_job
from transcription import recognition
from transcription.speech.engines.choice import WHISPER, Choice


@pytest.mark.parametrize(("held_micros", "percent"), [(0, 100), (250_000, 75), (1_000_000, 0)])
def test_thin_bar_shows_what_is_free(organization, held_micros, percent):
    if held_micros:
        ledger.reserve(organization, amount_micros=held_micros, reference="job:1")
    assert statements.balance(organization).available_percent == percent


def test_empty_balance_is_an_empty_bar(organization):
    hold = ledger.reserve(organization, amount_micros=1_000_000, reference="job:1")
    ledger.settle(hold, actual_micros=1_000_000)
    assert statements.balance(organization).available_percent == 0


def test_page_says_when_the_development_engine_listens(alice, organization, client_of):
    assert "PocketSphinx" in client_of(alice).get("/overview/").content.decode()


def test_pages_say_that_the_model_is_still_coming(alice, organization, client_of, settings, tmp_path):
    settings.ENGINE, settings.ENGINE_CHOICE_FILE = "auto", tmp_path / "engine.json"
    job = make_job(organization)
    recognition.remember_choice(Choice(WHISPER, is_final=False, received_bytes=5_000_000, total_bytes=9_000_000))
    page = client_of(alice).get(f"/transcripts/{job.pk}/").content.decode()
    card = page.split('id="progress"')[1].split("</section>")[0]
    assert "The speech model is being downloaded (5 of 9 MB)." in card
    assert ">Queued. " not in card
    foot = page.split('class="development"')[1]
    assert "The speech model is being downloaded" in foot
    assert "PocketSphinx" not in page
    recognition.remember_choice(Choice(WHISPER))
    page = client_of(alice).get(f"/transcripts/{job.pk}/").content.decode()
    assert ">Queued. " in page
    assert "speech model" not in page
