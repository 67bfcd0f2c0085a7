from tests.transcription.speech.formats.transcripts import DIALOGUE, render, said


def test_txt_names_each_speaker_once_per_turn():
    assert render("txt", *DIALOGUE, said("how are you", start_ms=3_670_000, speaker="S2")) == (
        "Speaker 1: hello there\nSpeaker 2: good morning how are you\n"
    )


def test_txt_without_speakers_is_only_text():
    assert render("txt", said("hello there", speaker=None), said("again", speaker=None)) == "hello there\nagain\n"
