from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transcription.speech.formats.transcripts import said, transcript
from transcription.speech import scripts, speakers
from transcription.speech.formats import cues
from transcription.speech.formats.options import FormatOptions
from transcription.speech.transcript import Segment, Word

CHARACTERS = st.characters(exclude_categories=["Cs", "Cc", "Cf", "M", "Z"])
OPTIONS = st.builds(
    FormatOptions,
    max_chars_per_line=st.integers(10, 60),
    max_lines=st.integers(1, 3),
    min_seconds=st.sampled_from([0, 0.5, 1, 3]),
    max_seconds=st.sampled_from([3, 7, 20]),
)


def units(*texts, step_ms=300):
    """Return segments of words that touch each other, as in Chinese."""
    words = [
        Word(text, at * step_ms, (at + 1) * step_ms - 20, 0.5, "S1", has_space_before=False)
        for at, text in enumerate(texts)
    ]
    return speakers.segments(words)


def made(*segments, **options):
    return cues.cues(transcript(*segments), options=FormatOptions(**options))


def times(found):
    return [(cue.start_ms, cue.end_ms) for cue in found]


@pytest.mark.long
@given(st.lists(st.tuples(st.text(CHARACTERS, min_size=1, max_size=60), st.booleans()), min_size=1), OPTIONS)
def test_cues_are_readable_complete_and_in_order(texts, options):
    words = [
        Word(text, number * 400, number * 400 + 350, 0.5, "S1", has_blank)
        for number, (text, has_blank) in enumerate(texts)
    ]
    found = cues.cues(transcript(*speakers.segments(words)), options=options)
    shown = "".join("".join(cue.lines) for cue in found)
    assert shown.replace(" ", "") == "".join("".join(text.split()) for text, _ in texts)
    for cue in found:
        assert 0 < cue.end_ms - cue.start_ms <= options.max_ms
        assert all(scripts.columns(line) <= options.max_chars_per_line for line in cue.lines)
        assert len(cue.lines) <= options.max_lines
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(found))


def test_long_sentence_is_cut_into_even_cues():
    text = "we will meet on friday morning to talk about the new house by the river and the people who live there"
    found = made(said(text))
    assert len(found) == 2
    assert min(len(" ".join(cue.lines)) for cue in found) > 30


def test_long_segment_is_cut_after_a_sentence():
    found = made(
        said("this is the first sentence of them. and here the second one begins and goes on for a long while")
    )
    assert found[0].lines[-1].endswith("them.")


def test_channels_that_overlap_are_in_order():
    first = [said("one two three four five", start_ms=at, speaker="S1", step_ms=600) for at in (0, 3500, 7000, 10500)]
    found = made(*first, said("hello there", start_ms=3000, speaker="S2"))
    assert [cue.start_ms for cue in found] == [0, 3000, 3500, 7000, 10500]
    assert found[1].speaker == "S2"


def test_long_turn_of_one_channel_does_not_hide_the_other():
    """The cues of one segment lie on both sides of another speaker's."""
    long = said("we will talk about the new house by the river and the people who live there and what they say of it")
    found = made(long, said("mm-hm", start_ms=2_000, speaker="S2"))
    assert [cue.speaker for cue in found] == ["S1", "S2", "S1"]
    assert [cue.start_ms for cue in found] == sorted(cue.start_ms for cue in found)


@pytest.mark.parametrize("length_ms", [0, 1, 200])
def test_short_word_stays_while_nobody_speaks(length_ms):
    word = Segment(1_000, 1_000 + length_ms, "Yes.", (Word("Yes.", 1_000, 1_000 + length_ms, 0.5),))
    assert times(made(word, said("and so on", start_ms=3_200, speaker=None)))[0] == (1_000, 2_000)
    assert times(made(word)) == [(1_000, 2_000)]
    assert times(made(word, min_seconds=0.5)) == [(1_000, 1_500)]


def test_short_word_ends_where_the_next_speaker_begins():
    found = made(said("yes", speaker="S1"), said("no never", start_ms=600, speaker="S2"))
    assert times(found) == [(0, 600), (600, 1600)]


def test_short_words_of_one_speaker_are_one_cue():
    segments = [said(word, start_ms=at * 400) for at, word in enumerate(["well.", "yes.", "sure."])]
    assert [cue.lines for cue in made(*segments)] == [("well. yes. sure.",)]
    later = said("later", start_ms=5_000)
    assert [cue.lines for cue in made(*segments, later)] == [("well. yes. sure.",), ("later",)]


def test_fast_speech_stays_as_long_as_it_takes_to_read():
    """60 characters in one second: 3 s are needed, and free."""
    found = made(said("sixty letters are said here by someone who is in a big hurry", step_ms=80))
    assert times(found) == [(0, 3_000)]
    following = said("and then", start_ms=2_000)
    found = made(said("sixty letters are said here by someone who is in a big hurry", step_ms=80), following)
    assert times(found)[0] == (0, 2_000 - cues.GAP_MS)


def test_no_cue_is_shown_longer_than_asked():
    word = Segment(0, 12_000, "Goal!", (Word("Goal!", 0, 12_000, 0.5),))
    assert times(made(word)) == [(0, 7_000)]
    assert times(made(word, max_seconds=3)) == [(0, 3_000)]


def test_chinese_takes_two_columns_a_character():
    """42 Han characters are 84 columns: two full lines."""
    text = "我们今天要谈谈新房子和住在那里的人们的故事然后再谈谈河边的房子以及其他事情和问题好吗"
    assert len(text) == 42
    [cue] = made(*units(*text, step_ms=150))
    assert [scripts.columns(line) for line in cue.lines] == [42, 42]


@pytest.mark.parametrize("width", [10, 12, 14, 16])
@pytest.mark.parametrize("lines", [1, 2])
def test_no_cue_or_line_cuts_a_name_or_begins_with_a_mark(width, lines):
    """Words as older results have them: "iP", "hone" and "15" are three words."""
    texts = ["我们", "今天", "用", "iP", "hone", "15", "，", "拍", "了", "很多", "照片", "。", "你", "呢", "？"]
    found = made(*units(*texts, *texts), max_chars_per_line=width, max_lines=lines)
    everything = [line for cue in found for line in cue.lines]
    assert sum("iPhone15" in line for line in everything) == 2
    assert all(line[0] not in "，。？" for line in everything)


def test_french_mark_after_a_blank_begins_no_cue():
    words = ["comment", "allez", "vous", "?", "bien", "merci", "!", "et", "vous", "?"]
    for width in range(10, 30):
        for cue in made(said(" ".join(words * 3)), max_chars_per_line=width, max_lines=1):
            assert cue.lines[0][0] not in "?!"


def test_thai_words_are_cut_at_syllables():
    found = made(
        *units("เรา", "ใช้", "คอม", "พิว", "เตอร์", "ทุก", "วัน", "ที่", "ทำ", "งาน"), max_chars_per_line=10, max_lines=1
    )
    assert len(found) > 2
    assert "".join("".join(cue.lines) for cue in found) == "เราใช้คอมพิวเตอร์ทุกวันที่ทำงาน"
    assert all(scripts.columns(cue.lines[0][0]) == 1 for cue in found)


@pytest.mark.parametrize(
    "texts",
    [
        ["ខ្ញុំ", "ទៅ", "ផ្សារ", "ដើម្បី", "ទិញ", "បន្លែ", "និង", "ត្រី", "ស្រស់", "សម្រាប់", "គ្រួសារ"],
        ["วันนี้", "เรา", "จะ", "พูด", "ถึง", "บ้าน", "หลัง", "ใหม่", "ของ", "เรา", "ครับ"],
        ["မင်္ဂလာ", "ပါ", "ခင်ဗျာ", "ကျွန်တော်", "က", "မြန်မာ", "နိုင်ငံ", "က", "ပါ"],
    ],
    ids=["khmer", "thai", "burmese"],
)
@pytest.mark.parametrize("width", [12, 20, 42])
def test_lines_without_blanks_are_broken_between_words(texts, width):
    """Khmer was broken inside a word: a line began with the last letter of "market"."""
    found = made(*units(*texts * 3), max_chars_per_line=width)
    shown = [line for cue in found for line in cue.lines]
    assert "".join(shown) == "".join(texts * 3)
    words = texts * 3
    for line in shown:
        while line:
            assert line.startswith(words[0])
            line = line.removeprefix(words.pop(0))


def test_hangul_is_broken_at_blanks():
    text = "안녕하세요 저는 오늘 새로운 집과 강가에 사는 사람들에 대해서 이야기하려고 합니다"
    shown = [line for cue in made(said(text), max_chars_per_line=20) for line in cue.lines]
    assert " ".join(shown) == text
    assert all(scripts.columns(line) <= 20 for line in shown)


def test_zero_width_spaces_of_khmer_are_places_to_break():
    text = "ខ្ញុំ ទៅ ផ្សារ ដើម្បី ទិញ បន្លែ".replace(" ", "\u200b")
    [cue] = made(Segment(0, 3_000, text, (Word(text, 0, 3_000, 0.5),)), max_chars_per_line=10)
    assert cue.lines == ("ខ្ញុំទៅផ្សារ", "ដើម្បីទិញបន្លែ")


def test_address_of_a_page_is_broken_at_its_joints():
    address = "https://www.voxsite.example/docs/guides/how-to-transcribe?language=en&format=srt"
    found = made(said(f"go to {address} now"))
    assert [line for cue in found for line in cue.lines] == [
        "go to",
        "https://www.voxsite.example/docs/guides/",
        "how-to-transcribe?language=en&format=srt",
        "now",
    ]


def test_words_without_time_are_shown_one_after_another():
    """The last words of a clip: three cues of 1 ms at the same moment."""
    timed = [Word(text, 1_000 + at * 400, 1_400 + at * 400, 0.5, "S1") for at, text in enumerate(["we", "are", "done"])]
    untimed = [Word(text, 2_200, 2_200, 0.5, "S1") for text in ["thank", "you", "very", "much", "everybody"]]
    narrow = {"max_chars_per_line": 12, "max_lines": 1}
    alone = made(*speakers.segments([*timed, *untimed]), **narrow)
    assert [cue.lines[0] for cue in alone] == ["we are", "done thank", "you very", "much", "everybody"]
    assert times(alone) == [(1_000, 1_800), (1_800, 2_200), (2_200, 3_200), (3_200, 4_200), (4_200, 5_200)]
    followed = made(*speakers.segments([*timed, *untimed]), said("bye", start_ms=3_700, speaker="S2"), **narrow)
    assert times(followed)[2:] == [(2_200, 2_700), (2_700, 3_200), (3_200, 3_700), (3_700, 4_700)]


def test_segment_without_words_is_cut_in_proportion():
    found = made(Segment(0, 20_000, "one two three four five six seven eight nine ten " * 4))
    assert len(found) >= 3
    assert found[-1].end_ms == 20_000
    assert all(len(cue.lines) <= 2 for cue in found)


def test_word_longer_than_a_cue_takes_several():
    found = made(Segment(0, 4_000, "x" * 200, (Word("x" * 200, 0, 4_000, 0.5),)), max_lines=1)
    assert "".join(cue.lines[0] for cue in found) == "x" * 200
    assert all(len(cue.lines) == 1 and len(cue.lines[0]) <= 42 for cue in found)


def test_name_of_the_speaker_is_part_of_the_width():
    text = "we will meet on friday morning to talk about the new house"
    found = cues.cues(transcript(said(text)), options=FormatOptions(max_chars_per_line=20), name_of=lambda _: "Anna: ")
    assert all(cue.lines[0].startswith("Anna: ") for cue in found)
    assert all(scripts.columns(line) <= 20 for cue in found for line in cue.lines)


def test_name_without_room_for_text_is_left_out():
    narrow = FormatOptions(max_chars_per_line=10, max_lines=1)
    [cue] = cues.cues(transcript(said("yes")), options=narrow, name_of=lambda _: "Speaker 1: ")
    assert cue.lines == ("yes",)


@pytest.mark.parametrize(("text", "is_right_to_left"), [("שלום לכולם", True), ("good morning", False)])
def test_cue_tells_its_direction(text, is_right_to_left):
    assert [cue.is_right_to_left for cue in made(said(text))] == [is_right_to_left]


@pytest.mark.parametrize(
    ("hours", "expected"),
    [(9, "09:00:05.250"), (25, "25:00:05.250"), (100, "100:00:05.250"), (1000, "1000:00:05.250")],
)
def test_hours_have_as_many_digits_as_they_need(hours, expected):
    assert cues.timestamp(hours * 3_600_000 + 5250, separator=".") == expected
