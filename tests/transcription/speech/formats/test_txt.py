from tests.transcription.speech.formats.transcripts import DIALOGUE, render, said


def test_txt_names_each_speaker_once_per_turn():
    assert render("txt", *DIALOGUE, said("how are you", start_ms=3_670_000, speaker="S2")) == (
        "Speaker 1: hello there\nSpeaker 2: good morning how are you\n"
    )


def test_txt_without_speakers_is_only_text():
    assert render("txt", said("hello there", speaker=None), said("again", speaker=None)) == "hello there\nagain\n"


def test_txt_without_labels_has_no_names():
    assert render("txt", *DIALOGUE, speaker_labels=False) == "hello there\ngood morning\n"


def test_txt_has_the_times_of_its_paragraphs_on_request():
    again = said("how are you", start_ms=3_670_000, speaker="S2")
    assert render("txt", *DIALOGUE, again, timestamps=True) == (
        "[0:00] Speaker 1: hello there\n[1:01:01] Speaker 2: good morning how are you\n"
    )
    lone = [said("hello there", speaker=None), said("again", speaker=None, start_ms=2_000)]
    assert render("txt", *lone, timestamps=True) == "[0:00] hello there\n[0:02] again\n"


def test_txt_from_right_to_left_begins_with_a_mark():
    assert (
        render("txt", said("שלום לכולם"), said("hello", speaker="S2"))
        == "\u200fSpeaker 1: שלום לכולם\nSpeaker 2: hello\n"
    )
