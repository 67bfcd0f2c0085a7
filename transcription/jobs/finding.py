"""Finds jobs of an organization for people: by words, time, person, language and tag, in the order they want.

The number of queries is the same however many jobs there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, F, OuterRef, Q, Subquery, TextChoices, Value
from django.db.models.expressions import Expression
from django.db.models.functions import Coalesce, Greatest, Lower, NullIf, StrIndex, Substr

from accounts.models import Organization
from transcription.jobs import search
from transcription.models import Job, JobItem, JobQuerySet, JobTag, SearchText
from transcription.speech import search_words

# Of an excerpt: characters before the first phrase, and in all.
EXCERPT_BEFORE = 70
EXCERPT_CHARACTERS = 220
# Recordings of a job in which a phrase is looked for. A page of batches of 10,000 would read 250,000 texts otherwise.
EXCERPT_RECORDINGS = 200


class Sort(TextChoices):
    """The order of a list. Each is total, so that a page goes on where the one before it ended."""

    NEWEST = "newest", "Newest first"
    OLDEST = "oldest", "Oldest first"
    NAME = "name", "Name"
    LONGEST = "longest", "Longest first"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for. Whatever is empty is no condition.

    phrases: all of them must be in the names or the transcripts.
    since, until: of the time of creation; `until` itself is not wanted.
    person_id: who uploaded; by_programs: made with an API key instead.
    """

    phrases: Sequence[str] = ()
    statuses: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    person_id: int | None = None
    by_programs: bool = False
    language: str = ""
    tag: str = ""
    sort: Sort = Sort.NEWEST


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Words around the first phrase of a search, of one recording of a job.

    text: words in lower case without punctuation, as they are searched. position: of the recording in its job.
    """

    text: str
    position: int


def find(organization: Organization, wanted: Wanted) -> JobQuerySet:
    """Return the jobs of an organization that are wanted, in the wanted order."""
    found = Job.objects.of(organization)
    if wanted.statuses:
        found = found.filter(status__in=wanted.statuses)
    if wanted.since:
        found = found.filter(created_at__gte=wanted.since)
    if wanted.until:
        found = found.filter(created_at__lt=wanted.until)
    if wanted.person_id is not None:
        found = found.filter(created_by_id=wanted.person_id)
    if wanted.by_programs:
        # Not by the key, which a job loses when the row of its token is deleted.
        found = found.exclude(dialect="pages")
    if wanted.language:
        found = found.filter(Exists(JobItem.objects.filter(job=OuterRef("pk"), language=wanted.language)))
    if wanted.tag:
        found = found.filter(Exists(JobTag.objects.filter(job=OuterRef("pk"), name=wanted.tag)))
    if wanted.phrases:
        found = search.matching(found, phrases=wanted.phrases)
    match wanted.sort:
        case Sort.OLDEST:
            return found.order_by("created_at", "id")
        case Sort.NAME:
            return found.order_by(Lower("name"), "id")
        case Sort.LONGEST:
            return found.order_by("-duration_ms", "id")
    return found.newest_first()


def after(found: JobQuerySet, last: Job, *, sort: Sort) -> JobQuerySet:
    """Return the jobs that follow one in the order of `find`. New jobs at the top do not shift the pages."""
    match sort:
        case Sort.OLDEST:
            return found.filter(
                Q(created_at__gt=last.created_at) | Q(created_at=last.created_at, id__gt=last.pk),
                created_at__gte=last.created_at,
            )
        case Sort.NAME:
            # The database makes both lower, because its idea of lower case orders them.
            named = found.alias(low=Lower("name"))
            name = Lower(Value(last.name))
            return named.filter(Q(low__gt=name) | Q(low=name, id__gt=last.pk))
        case Sort.LONGEST:
            return found.filter(Q(duration_ms__lt=last.duration_ms) | Q(duration_ms=last.duration_ms, id__gt=last.pk))
    return found.older_than(created_at=last.created_at, job_id=last.pk)


def excerpts(
    jobs: Sequence[Job], *, phrases: Sequence[str], recordings: int = EXCERPT_RECORDINGS
) -> dict[object, Excerpt]:
    """Return for each job what its transcript says around a phrase, by the job's id. One query for all jobs.

    A job that has the phrases in its name alone has none, nor has a batch that has them in late recordings alone.
    recordings: how many of a job are looked at, from the first one on.
    """
    at = _first_place(phrases)
    if not jobs or at is None:
        return {}
    texts = SearchText.objects.filter(number__gte=1).annotate(at=at).filter(at__isnull=False)
    # A range of the index `one_search_text_per_stretch`.
    of_job = texts.filter(job=OuterRef("pk"), position__lt=recordings).order_by("position", "number").values("pk")[:1]
    first = Job.objects.filter(pk__in=[job.pk for job in jobs]).annotate(text=Subquery(of_job)).values("text")
    begins = Greatest(F("at") - EXCERPT_BEFORE, 1)
    rows = (
        texts.filter(pk__in=first)
        .annotate(begins=begins, part=Substr("words", begins, EXCERPT_CHARACTERS))
        .values_list("job_id", "position", "begins", "part")
    )
    return {
        job_id: Excerpt(text=_whole_words(part, is_first=begins <= 1), position=position)
        for job_id, position, begins, part in rows
    }


def _first_place(phrases: Sequence[str]) -> Expression | None:
    """Return where the first of the phrases that a stretch of words has stands in it; null if it has none."""
    padded = [f" {words} " for words in map(search_words.normalized, phrases) if words]
    places: list[Expression] = [NullIf(StrIndex("words", Value(words)), Value(0)) for words in padded]
    if len(places) > 1:
        return Coalesce(*places)
    return places[0] if places else None


def _whole_words(part: str, *, is_first: bool) -> str:
    """Return a part of a stretch without words that were cut at its ends."""
    if not is_first:
        part = part.partition(" ")[2]
    if len(part) > EXCERPT_CHARACTERS // 2:
        part = part.rpartition(" ")[0]
    return search_words.readable(part)
