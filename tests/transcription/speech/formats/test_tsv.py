from dataclasses import replace

from tests.transcription.speech.formats.transcripts import DIALOGUE, render, said


def test_tsv_has_a_line_for_each_segment_in_milliseconds():
    assert render("tsv", *DIALOGUE) == ("start\tend\ttext\n0\t580\thello there\n3661500\t3662080\tgood morning\n")


def test_tsv_keeps_its_columns_whatever_the_text_is():
    odd = replace(said("one two"), text="one\ttwo\nthree  \x0bfour")
    assert render("tsv", odd) == "start\tend\ttext\n0\t580\tone two three four\n"


def test_tsv_of_silence_is_its_header():
    assert render("tsv") == "start\tend\ttext\n"
