"""What people call jobs, and the tags by which they file them."""

import re
import uuid
from collections.abc import Iterable

from django.db import transaction
from django.db.models import Case, Max, Q, When

from accounts.errors import InvalidField, NotFound
from accounts.models import Organization
from transcription.jobs import lifecycle, results, search
from transcription.models import Job, JobTag, SearchText
from transcription.models.tags import MAX_TAG_CHARACTERS
from transcription.recordings import names

MAX_NAME_CHARACTERS = 200
MAX_TAGS_PER_JOB = 20
# Of an organization, as choices of a filter.
MAX_TAG_NAMES = 500
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def rename(job: Job, *, name: str) -> None:
    """Call a job something else: on pages, in downloads and in the search. Recordings keep the names of their files.

    What a name of a file never has, `recordings.display_name`, a new name has not either: a download is called by it.
    Raises InvalidField for an empty or a long name, and NotFound if the job was deleted.
    """
    name = names.without_slashes(_BLANKS.sub(" ", name))
    if not 0 < len(name) <= MAX_NAME_CHARACTERS:
        raise InvalidField("name", f"Enter a name of up to {MAX_NAME_CHARACTERS} characters.")
    with lifecycle.lock_job(job.pk) as locked:
        if locked is None:
            raise NotFound("Transcript not found.")
        locked.name = name
        locked.save(update_fields=["name"])
        SearchText.objects.filter(job=locked, number=0).delete()
        search.record_names(locked, names=[item.name for item in results.items_of(locked)])
    job.name = name


def tag(organization: Organization, *, job_ids: Iterable[uuid.UUID], name: str) -> int:
    """Give jobs of an organization a tag. Returns how many of these jobs there are.

    The tag is written as it was first, whatever its case now. Raises InvalidField for a name that cannot be one, and
    for a job that has MAX_TAGS_PER_JOB others; then none of the jobs gets it.
    """
    name = tag_of(name)
    with transaction.atomic():
        # The lock counts tags that are given at the same moment, and keeps the jobs.
        jobs = list(Job.objects.of(organization).select_for_update().filter(pk__in=list(job_ids)).order_by("pk"))
        known = JobTag.objects.filter(organization=organization, name__iexact=name)
        name = known.values_list("name", flat=True).first() or name
        tagged = JobTag.objects.filter(job__in=jobs).values_list("job_id", "name")
        had: dict[uuid.UUID, set[str]] = {job.pk: set() for job in jobs}
        for job_id, tag_name in tagged:
            had[job_id].add(tag_name)
        without = [job for job in jobs if name not in had[job.pk]]
        if any(len(had[job.pk]) >= MAX_TAGS_PER_JOB for job in without):
            raise InvalidField("tag", f"A transcript can have {MAX_TAGS_PER_JOB} tags.")
        JobTag.objects.bulk_create([JobTag(job=job, organization=organization, name=name) for job in without])
    return len(jobs)


def untag(organization: Organization, *, job_ids: Iterable[uuid.UUID], name: str) -> int:
    """Take a tag, in any case, from jobs of an organization. Returns how many of them had it.

    Raises InvalidField for a name that cannot be one.
    """
    tags = JobTag.objects.filter(organization=organization, job__in=list(job_ids))
    # Earlier tags may have invisible characters, which new ones lose.
    earlier = _BLANKS.sub(" ", name).strip()
    return tags.filter(Q(name__iexact=tag_of(name)) | Q(name=earlier)).delete()[0]


def tag_of(text: str) -> str:
    """Return the name of the tag that somebody typed. Raises InvalidField for one that cannot be one."""
    name = _cleaned(text)
    if not 0 < len(name) <= MAX_TAG_CHARACTERS:
        raise InvalidField("tag", f"Enter a tag of up to {MAX_TAG_CHARACTERS} characters.")
    return name


def tag_names(organization: Organization) -> list[str]:
    """Return the tags that jobs of an organization have, by name."""
    found = JobTag.objects.filter(organization=organization).order_by("name").values_list("name", flat=True)
    return list(found.distinct()[:MAX_TAG_NAMES])


def tag_choices(job: Job) -> dict[str, list[str]]:
    """Return `tags`, those that a job has, and `tag_names`, those of its organization. One query."""
    rows = JobTag.objects.filter(organization=job.organization).values("name")
    rows = rows.annotate(is_mine=Max(Case(When(job=job, then=1), default=0))).order_by("-is_mine", "name")
    found = list(rows.values_list("name", "is_mine")[:MAX_TAG_NAMES])
    return {"tags": [name for name, is_mine in found if is_mine], "tag_names": sorted(name for name, _ in found)}


def _cleaned(text: str) -> str:
    return names.visible(_BLANKS.sub(" ", text))
