"""Tags of charges, for usage by tag: taken from the `metadata` of a request, kept beside the ledger for a time.

A tag is a pair of short texts. It is not written into the ledger, where it could never be deleted. It is kept for
KEEP_FOR, as long as usage can be asked for, and goes earlier when the customer deletes the job that it is of.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.models import ChargeTag, Entry, EntryKind
from billing.models.charge_tags import MAX_NAME_LENGTH, MAX_VALUE_LENGTH

# As many as OpenAI's metadata may have (API reference, "metadata", read 2026-11-29).
MAX_TAGS = 16
# A year and a month: usage is asked for 366 days at once.
KEEP_FOR = timedelta(days=400)
INSERT_BATCH_SIZE = 500
PURGE_BATCH_SIZE = 5_000


@dataclass(frozen=True, slots=True)
class WorkTags:
    """Tags of a charge that the site makes for other work, such as a summary of a job. Deleted with that work.

    tags: as `tags_of` returns them. work_reference: the reference of that work, such as "job:<id>".
    """

    tags: Mapping[str, str]
    work_reference: str


def tags_of(metadata: object) -> dict[str, str]:
    """Return the tags in the metadata of a request: the pairs of texts that are short enough, at most MAX_TAGS.

    Everything else in it is no tag, and no fault: programs send lists, numbers and long texts in this field too.
    """
    if not isinstance(metadata, Mapping):
        return {}
    pairs = ((name, value) for name, value in metadata.items() if _is_tag(name, value))
    return dict(pair for pair, _ in zip(pairs, range(MAX_TAGS), strict=False))


def record(charges: Iterable[tuple[object, Mapping[str, str] | WorkTags]]) -> None:
    """Write the tags of charges that were just made: as `tags_of` returned them, or of other work.

    charges: (what the ledger's settle verbs returned, tags). Refusals and None have none. Call it in the transaction of
    the charges.
    """
    rows = [
        ChargeTag(entry=entry, name=name, value=value, work_reference=work_reference, created_at=entry.created_at)
        for entry, of_charge in charges
        if isinstance(entry, Entry)
        for tags, work_reference in [_parts(of_charge)]
        for name, value in tags.items()
    ]
    if rows:
        ChargeTag.objects.bulk_create(rows, batch_size=INSERT_BATCH_SIZE)


def forget(reference: str) -> None:
    """Delete the tags of a piece of work, by its reference: of its charge, and of other charges that are about it.

    The charges stay and count as some without tags.
    """
    ChargeTag.objects.filter(entry__kind=EntryKind.USAGE, entry__reference=reference).delete()
    if reference:
        ChargeTag.objects.filter(work_reference=reference).delete()


def purge(*, now: datetime, batch_size: int = PURGE_BATCH_SIZE) -> int:
    """Delete tags that have been kept long enough. Returns how many, at most `batch_size`."""
    old = ChargeTag.objects.filter(created_at__lt=now - KEEP_FOR).order_by("created_at")
    ids = list(old.values_list("pk", flat=True)[:batch_size])
    # Django deletes a list of ids in parts that SQLite takes.
    return ChargeTag.objects.filter(pk__in=ids).delete()[0] if ids else 0


def _parts(of_charge: Mapping[str, str] | WorkTags) -> tuple[Mapping[str, str], str]:
    return (of_charge.tags, of_charge.work_reference) if isinstance(of_charge, WorkTags) else (of_charge, "")


def _is_tag(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str):
        return False
    if not 1 <= len(name) <= MAX_NAME_LENGTH or not 1 <= len(value) <= MAX_VALUE_LENGTH:
        return False
    # Neither database keeps a null character or a lone surrogate.
    return "\0" not in name + value and (name + value).isprintable()
