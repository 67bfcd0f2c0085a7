"""Finds jobs by words of their transcripts and names: full text on PostgreSQL, a plain search on SQLite.

Both search the same normalized words, so both find the same jobs. Words are not stemmed, since recordings are in any
language.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import BooleanField, Exists, Func, OuterRef, Value

from transcription.models import Job, JobItem, JobQuerySet, SearchText
from transcription.speech.search_words import normalized
from transcription.speech.transcript import Transcript

# A tsvector keeps 255 places of a word (PostgreSQL documentation, "Limitations" of text search, read 2026-11-29). Of so
# many words, the most frequent one of a language has about as many places.
STRETCH_WORDS = 4_000
# A stretch begins before the end of the one before, so that a phrase is whole in one of them.
OVERLAP_WORDS = 200
INSERT_BATCH_SIZE = 500
# A phrase in no more stretches is rare. Its jobs are an argument of the next query.
MAX_RARE_STRETCHES = 2_000
# A phrase of two frequent words has the lookup read each text of any organization with both, which could take minutes.
# So a phrase that is not looked up within this time counts as frequent.
_LIMIT_LOOKUP = "SET LOCAL statement_timeout = '1s'"
_LIMIT_AS_BEFORE = "SET LOCAL statement_timeout TO DEFAULT"
# The SQLSTATE of a statement that took too long ("query_canceled").
_TOOK_TOO_LONG = "57014"
# MATERIALIZED keeps the planner from counting on the LIMIT, which makes it read the table and not the index.
_FIRST_JOBS = """
WITH matches AS MATERIALIZED (
    SELECT job_id FROM transcription_searchtext WHERE document @@ phraseto_tsquery('simple', %s)
)
SELECT job_id FROM matches LIMIT %s
"""
# Of one phrase in a statement about several.
_MATCHES_OF_ONE = """
m{number} AS MATERIALIZED (
    SELECT job_id FROM transcription_searchtext WHERE document @@ phraseto_tsquery('simple', %s)
)"""
_FIRST_OF_ONE = "(SELECT {number} AS phrase, job_id FROM m{number} LIMIT %s)"
_FIRST_NAMED = _FIRST_JOBS.replace("WHERE", "WHERE number = 0 AND")


def record_names(job: Job, *, names: Iterable[str]) -> None:
    """Have a new job found by the names of its recordings, in their order. Runs in the caller's transaction."""
    own = normalized(job.name)
    SearchText.objects.bulk_create(
        [
            SearchText(job=job, position=position, number=0, words=_padded(dict.fromkeys((own, normalized(name)))))
            for position, name in enumerate(names)
        ],
        batch_size=INSERT_BATCH_SIZE,
    )


def stretches(transcript: Transcript) -> list[str]:
    """Return the words of a transcript in stretches that overlap, to be given to `record_transcript`."""
    words = normalized(transcript.text).split()
    firsts = range(0, max(1, len(words) - OVERLAP_WORDS), STRETCH_WORDS - OVERLAP_WORDS) if words else ()
    return [_padded(words[first : first + STRETCH_WORDS]) for first in firsts]


def record_transcript(item: JobItem, *, stretches: Sequence[str]) -> None:
    """Have a job found by the transcript of an item. Runs in the transaction that completes the item."""
    SearchText.objects.bulk_create(
        [
            SearchText(job_id=item.job_id, position=item.position, number=number, words=words)
            for number, words in enumerate(stretches, start=1)
        ],
        batch_size=INSERT_BATCH_SIZE,
    )


def replace_transcript(item: JobItem, *, stretches: Sequence[str]) -> None:
    """Have a job found by a corrected transcript of an item instead. The caller has locked the item."""
    SearchText.objects.filter(job_id=item.job_id, position=item.position, number__gte=1).delete()
    record_transcript(item, stretches=stretches)


def matching(
    found: JobQuerySet, *, phrases: Sequence[str], max_rare_stretches: int = MAX_RARE_STRETCHES
) -> JobQuerySet:
    """Return the jobs that have every phrase somewhere in their names or transcripts.

    phrases: each is words that follow each other, and has a letter or a digit.
    max_rare_stretches: a phrase in no more of them is rare, and looked up first on PostgreSQL.
    """
    wanted = list(dict.fromkeys(map(normalized, phrases)))
    is_indexed = connection.vendor == "postgresql"
    rare = _jobs_of_rare(wanted, max_stretches=max_rare_stretches) if is_indexed else {}
    for phrase in wanted:
        texts = SearchText.objects.filter(job=OuterRef("pk"))
        if not is_indexed:
            found = found.filter(Exists(texts.filter(words__contains=_padded([phrase]))))
        elif (job_ids := rare[phrase]) is not None:
            found = found.filter(pk__in=job_ids)
        else:
            found = found.filter(Exists(texts.filter(_DocumentHas(Value(phrase)))))
    return found


def jobs_named(phrase: str) -> list[uuid.UUID]:
    """Return the ids of up to MAX_RARE_STRETCHES jobs, of all organizations, with this phrase in a name.

    None for a phrase without letters and digits, and on PostgreSQL for one that too many names have.
    """
    words = normalized(phrase)
    if not words:
        return []
    if connection.vendor != "postgresql":
        named = SearchText.objects.filter(number=0, words__contains=_padded([words])).order_by("job")
        return list(named.values_list("job", flat=True).distinct()[:MAX_RARE_STRETCHES])
    return _jobs_found(_FIRST_NAMED, [words, MAX_RARE_STRETCHES]) or []


def _jobs_of_rare(phrases: Sequence[str], *, max_stretches: int) -> dict[str, list[uuid.UUID] | None]:
    """Return for each phrase the jobs of all organizations that have it, None if it is frequent. For PostgreSQL.

    Its planner takes a word that it does not know for one in 200 rows, and so expects to fill a page by walking through
    the jobs of an organization, newest first. With a million jobs and a rare word this took 5 s. It must be right for
    frequent words only, so the others are looked up in the index first. All in one statement; if that takes too long,
    one after the other, since one slow phrase makes no other one frequent.
    """
    numbers = range(len(phrases))
    matches = ",".join(_MATCHES_OF_ONE.format(number=number) for number in numbers)
    firsts = " UNION ALL ".join(_FIRST_OF_ONE.format(number=number) for number in numbers)
    limit = max_stretches + 1
    rows = _rows_found(f"WITH {matches} {firsts}", [*phrases, *[limit] * len(phrases)]) if len(phrases) > 1 else None
    if rows is None:
        found = {phrase: _jobs_found(_FIRST_JOBS, [phrase, limit]) for phrase in phrases}
    else:
        found = {phrase: [job_id for at, job_id in rows if at == number] for number, phrase in enumerate(phrases)}
    return {phrase: None if ids is None or len(ids) > max_stretches else ids for phrase, ids in found.items()}


def _jobs_found(statement: str, params: list[str | int]) -> list[uuid.UUID] | None:
    """Return the jobs that a statement finds, None if that took too long."""
    rows = _rows_found(statement, params)
    return None if rows is None else [job_id for (job_id,) in rows]


def _rows_found(statement: str, params: list[str | int]) -> list[tuple[Any, ...]] | None:
    """Return the rows of a statement, None if it took too long."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_LIMIT_LOOKUP)
            cursor.execute(statement, params)
            rows = cursor.fetchall()
            cursor.execute(_LIMIT_AS_BEFORE)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) != _TOOK_TOO_LONG:
            raise
        return None
    return list(rows)


class _DocumentHas(Func):
    """Whether `document` of a SearchText has a phrase. Django does not know the column."""

    template = "document @@ phraseto_tsquery('simple', %(expressions)s)"
    output_field = BooleanField()


def _padded(words: Iterable[str]) -> str:
    return f" {' '.join(words)} "
