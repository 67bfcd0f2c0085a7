"""What one recording adds to the options of its job."""

import pytest

from transcription.jobs.submission import options_of
from transcription.models import Job, JobItem
from transcription.speech.options import TranscriptionOptions


def item(own, **options):
    return JobItem(requested_language=own, job=Job(options=TranscriptionOptions(**options).to_dict()))


@pytest.mark.parametrize(("own", "used"), [("", "en"), ("fr", "fr"), ("auto", None)])
def test_language_of_a_file_goes_before_the_one_of_the_job(own, used):
    assert options_of(item(own, language="en")).language == used


@pytest.mark.parametrize(("own", "candidates"), [("", ("en", "de")), ("fr", ()), ("auto", ("en", "de"))])
def test_file_with_a_language_needs_no_candidates(own, candidates):
    assert options_of(item(own, languages=("en", "de"))).languages == candidates


def test_file_with_a_language_has_no_mixed_languages():
    assert not options_of(item("fr", mixed_languages=True)).mixed_languages
    assert options_of(item("", mixed_languages=True)).mixed_languages


def test_other_options_are_the_jobs():
    options = TranscriptionOptions(prompt="Ships.", diarize=False, task="translate")
    own = JobItem(requested_language="fr", job=Job(options=options.to_dict()))
    assert options_of(own) == TranscriptionOptions(prompt="Ships.", diarize=False, task="translate", language="fr")
