from __future__ import annotations

import numpy as np
import pytest

from transcription.speech.diarizers import joining

SIZE = 192


def prints(owners, seconds, *, seed=0, spread=1.35):
    """Return prints of these owners whose cosines are those of people: seconds / (seconds + spread) for one voice."""
    chance = np.random.default_rng(seed)
    people = joining.normalised(chance.normal(size=(max(owners) + 1, SIZE)).astype(np.float32))
    noise = joining.normalised(chance.normal(size=(len(owners), SIZE)).astype(np.float32))
    return np.stack([people[owner] + noise[i] * np.sqrt(spread / seconds[i]) for i, owner in enumerate(owners)])


def join(owners, seconds, *, low=1, high=20, **settings):
    lengths = np.asarray(seconds, dtype=np.float32)
    made = prints(owners, lengths, seed=settings.pop("seed", 0))
    return joining.join(made.astype(np.float32), lengths, min_voices=low, max_voices=high, **settings)


def agree(labels, owners):
    """Tell whether both are the same grouping."""
    pairs = set(zip(labels.tolist(), owners, strict=True))
    return len(pairs) == len(set(labels.tolist())) == len(set(owners))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("seconds", [1.0, 3.0, 6.0])
def test_pieces_of_one_voice_are_joined_and_others_are_not(count, seconds):
    owners = [index % count for index in range(12 * count)]
    assert agree(join(owners, [seconds] * len(owners)).labels, owners)


def test_short_and_long_pieces_of_one_voice_are_joined():
    """A fixed limit low enough for pieces of a second would join two people who are alike in pieces of six."""
    owners = [0, 1] * 12
    seconds = [0.8, 0.8, 6.0, 6.0] * 6
    assert agree(join(owners, seconds).labels, owners)


def test_one_piece_is_one_voice():
    found = join([0], [2.0])
    assert (found.labels.tolist(), found.voices.shape) == ([0], (1, SIZE))


def test_voice_of_hardly_any_speech_is_none():
    owners = [0] * 60 + [1]
    labels = join(owners, [3.0] * 60 + [0.8]).labels
    assert set(labels.tolist()) == {0}


@pytest.mark.parametrize("most", [1, 2, 4])
def test_most_voices_are_obeyed(most):
    owners = [0] * 10 + [1] * 8 + [2] * 6 + [3] * 4 + [4] * 3
    labels = join(owners, [3.0] * len(owners), high=most).labels
    assert len(set(labels.tolist())) == most


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_stated_number_is_obeyed(count):
    owners = [0] * 8 + [1] * 8 + [2] * 8
    assert len(set(join(owners, [3.0] * 24, low=count, high=count).labels.tolist())) == count


def test_stated_number_is_met_by_voices_and_not_by_coughs():
    """Two people and a piece of noise: two that are stated are the people."""
    owners = [0] * 10 + [1] * 10 + [2]
    labels = join(owners, [3.0] * 20 + [0.9], low=2, high=2).labels
    assert agree(labels[:20], owners[:20])


def test_stated_number_splits_what_would_be_joined():
    owners = [0, 1] * 10
    lengths = np.full(20, 3.0, dtype=np.float32)
    people = prints(owners, lengths)
    # Both voices share most of their sound: without the number they are one.
    alike = people + 2.0 * joining.normalised(np.random.default_rng(9).normal(size=(1, SIZE)))
    usual = joining.join(alike.astype(np.float32), lengths, min_voices=1, max_voices=20)
    stated = joining.join(alike.astype(np.float32), lengths, min_voices=2, max_voices=2)
    assert len(usual.voices) == 1
    assert agree(stated.labels, owners)


def test_fewer_pieces_than_stated_are_a_voice_each():
    assert len(set(join([0, 0], [3.0, 3.0], low=5, high=5).labels.tolist())) == 2


def test_least_number_alone_is_obeyed():
    owners = [0] * 8 + [1] * 8
    assert len(set(join(owners, [3.0] * 16, low=4, high=20).labels.tolist())) >= 4


def test_very_many_pieces_are_sampled():
    owners = np.random.default_rng(2).integers(0, 3, 600).tolist()
    found = join(owners, [3.0] * 600, max_joined=50)
    assert agree(found.labels, owners)


def test_order_of_joins_is_that_of_the_plain_search():
    """The remembered best partners of each voice give what a look at the whole matrix gives."""
    owners = [index % 4 for index in range(40)]
    seconds = np.random.default_rng(5).uniform(0.75, 4, 40).astype(np.float32)
    unit = joining.normalised(prints(owners, seconds, seed=5))
    merges, usual = joining.merge_order(unit, seconds)
    sums, heard, alive = unit * seconds[:, None], seconds.astype(float).copy(), list(range(40))
    for number, merge in enumerate(merges):
        margins = {
            (one, other): joining._margins(one, sums, heard, limit=joining.LIMIT)[other]
            for one in alive
            for other in alive
            if one != other
        }
        best = max(margins.values())
        assert margins[merge] == pytest.approx(best, abs=1e-6)
        assert (best > 0) == (number < usual) or number > usual
        one, other = merge
        sums[one] += sums[other]
        heard[one] += heard[other]
        alive.remove(other)


@pytest.mark.parametrize("seconds", [(1.0, 1.0), (0.5, 3.0), (6.0, 6.0)])
def test_likeness_is_1_for_one_voice_and_0_for_two_whatever_their_lengths(seconds):
    alike = [
        joining.likeness(*prints([0, owner], seconds, spread=joining.HALF_SECONDS, seed=seed), seconds=seconds)
        for owner in (0, 1)
        for seed in range(20)
    ]
    assert np.mean(alike[:20]) == pytest.approx(1.0, abs=0.1)
    assert np.mean(alike[20:]) == pytest.approx(0.0, abs=0.1)


def test_two_prints_have_a_common_one_only_if_they_are_alike():
    mine, again, other = prints([0, 0, 1], [6.0, 6.0, 6.0])
    both = joining.normalised(joining.common(mine * 5, again))
    for one in (mine, again):
        assert float(both @ joining.normalised(one)) > float(joining.normalised(mine) @ joining.normalised(again))
    assert joining.common(mine, other) is None
    assert joining.common(mine, None) is joining.common(None, mine) is None


@pytest.mark.parametrize(("spread", "rises"), [(1.35, False), (2.5, False), (0.5, True), (0.1, True)])
@pytest.mark.parametrize("owners", [[0] * 20, [0, 1] * 10, [0, 1, 2, 3] * 6])
def test_limit_rises_where_pieces_of_one_voice_are_more_alike_than_expected(spread, rises, owners):
    """spread: 1.35 as in meetings; less in clean recordings."""
    lengths = np.full(len(owners), 3.0, dtype=np.float32)
    limit = joining.limit_of(prints(owners, lengths, spread=spread).astype(np.float32), lengths)
    assert (limit > joining.LIMIT) is rises
    assert joining.LIMIT <= limit <= joining.LIMIT * joining.MAX_RISE


@pytest.mark.parametrize("owners", [[], [0], [0, 1]])
def test_limit_stays_where_nobody_is_heard_twice(owners):
    lengths = np.full(len(owners), 3.0, dtype=np.float32)
    made = prints([*owners, 0], np.full(len(owners) + 1, 3.0))[: len(owners)].astype(np.float32)
    assert joining.limit_of(made, lengths) == joining.LIMIT


def test_higher_limit_keeps_alike_voices_apart():
    """Two voices with a cosine of 0.65, whose own pieces are the same."""
    one = np.eye(SIZE, dtype=np.float32)[0]
    other = 0.65 * one + np.sqrt(1 - 0.65**2) * np.eye(SIZE, dtype=np.float32)[1]
    made, lengths = np.stack([one, other] * 6).astype(np.float32), np.full(12, 3.0, dtype=np.float32)
    limit = joining.limit_of(made, lengths)
    assert len(joining.join(made, lengths, min_voices=1, max_voices=20).voices) == 1
    assert len(joining.join(made, lengths, min_voices=1, max_voices=20, limit=limit).voices) == 2


TELEPHONE, MICROPHONE = 57, 80


def people_of(voices, *, alike):
    """Return the people of voices, each (person, tops of its pieces).

    alike: the cosine of the voices that one person has in two bands.
    """
    directions = np.eye(SIZE, dtype=np.float32)
    bands = sorted({max(tops) for _, tops in voices})
    made, labels, known = [], [], []
    for number, (person, tops) in enumerate(voices):
        own = directions[person] * np.sqrt(alike) + directions[10 + 10 * person + bands.index(max(tops))] * np.sqrt(
            1 - alike
        )
        made += [own] * len(tops)
        labels += [number] * len(tops)
        known += tops
    prints, seconds = np.stack(made).astype(np.float32), np.full(len(made), 3.0, dtype=np.float32)
    joined = joining.Joined(np.array(labels), joining._voices(prints, seconds, np.array(labels)))
    return joining.across_bands(joined, prints, seconds, tops=np.array(known)).tolist()


def test_person_in_two_bands_is_one():
    assert people_of([(0, [MICROPHONE] * 3), (0, [TELEPHONE] * 3)], alike=0.55) == [0, 0]
    assert people_of([(0, [MICROPHONE] * 3), (0, [TELEPHONE] * 3)], alike=0.3) == [0, 1]


def test_person_in_three_bands_is_one():
    assert people_of([(0, [MICROPHONE] * 3), (0, [TELEPHONE] * 3), (0, [70] * 3)], alike=0.55) == [0, 0, 0]


def test_two_people_in_two_bands_stay_two():
    assert people_of([(0, [MICROPHONE] * 3), (1, [TELEPHONE] * 3)], alike=0.9) == [0, 1]


def test_two_people_who_change_their_band_are_two():
    voices = [(0, [MICROPHONE] * 3), (1, [MICROPHONE] * 2), (1, [TELEPHONE] * 3), (0, [TELEPHONE] * 4)]
    assert people_of(voices, alike=0.55) == [0, 1, 1, 0]


@pytest.mark.parametrize("top", [MICROPHONE, MICROPHONE - joining.BAND_STEP + 1, -1])
def test_voices_that_are_in_no_band_of_their_own_are_not_compared_again(top):
    assert people_of([(0, [MICROPHONE] * 3), (0, [top] * 3)], alike=0.55) == [0, 1]


def test_voice_that_is_heard_in_both_bands_is_in_none():
    assert people_of([(0, [MICROPHONE] * 3), (0, [TELEPHONE, MICROPHONE] * 2)], alike=0.55) == [0, 1]


def test_single_piece_in_another_band_changes_no_band():
    assert people_of([(0, [MICROPHONE] * 6 + [TELEPHONE]), (0, [TELEPHONE] * 6)], alike=0.55) == [0, 0]


def test_nobody_has_two_voices_of_one_band():
    """Both voices of the telephone are like the third; the one that was heard longer is the more alike."""
    assert people_of([(0, [MICROPHONE] * 9), (0, [TELEPHONE] * 9), (0, [TELEPHONE] * 2)], alike=0.55) in (
        [0, 0, 1],
        [0, 1, 0],
    )


def test_voice_between_two_people_does_not_make_them_one():
    """A studio, a laptop and a telephone: the middle voice is like both others, which are not like each other."""
    prints = np.zeros((3, 192), np.float32)
    for voice, degrees in enumerate((0, 55, 110)):
        prints[voice, :2] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    joined = joining.Joined(np.arange(3), prints)
    people = joining.across_bands(joined, prints, np.full(3, 60, np.float32), tops=np.array([57, 66, 80])).tolist()
    assert people[0] != people[2]
    assert people[1] in {people[0], people[2]}
