"""People give jobs names and tags, and find them by both."""

import pytest

from accounts.errors import InvalidField, NotFound
from tests.transcription.factories import make_batch, make_job
from transcription import jobs
from transcription.jobs import finding, naming
from transcription.jobs.finding import Wanted
from transcription.models import Job, JobTag


def found(organization, **wanted):
    return set(finding.find(organization, Wanted(**wanted)))


def tags_of(job):
    return [tag.name for tag in job.tags.all()]


def test_new_name_is_found_and_the_old_one_is_not(organization):
    job, batch = make_job(organization), make_batch(organization, 3)
    naming.rename(job, name="  Interview \n with\tAnna ")
    naming.rename(batch, name="Calls of May")
    assert [Job.objects.get(pk=one.pk).name for one in (job, batch)] == ["Interview with Anna", "Calls of May"]
    assert found(organization, phrases=["interview with anna"]) == {job}
    assert found(organization, phrases=["calls of may"]) == {batch}
    assert found(organization, phrases=["3 calls"]) == set()
    assert found(organization, phrases=["sentence slt"]) == {job, batch}, "recordings keep the names of their files"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("annual\u202efdp.exe", "annualfdp.exe"),
        ("a\u200bb\ue000c\ud800d\u0378e", "abcde"),
        ("..\\..\\x", ".. .. x"),
        ("May/June", "May June"),
        ("cafe\u0301", "caf\u00e9"),
        ("12.05.2026 Board", "12.05.2026 Board"),
    ],
)
def test_new_name_has_nothing_that_names_of_files_never_have(organization, name, kept):
    job = make_job(organization)
    naming.rename(job, name=name)
    assert Job.objects.get().name == job.name == kept


@pytest.mark.parametrize("name", ["", " \n ", "\u202e\u200b", "/\\", "x" * 201])
def test_name_that_is_none_is_refused(organization, name):
    job = make_job(organization)
    with pytest.raises(InvalidField):
        naming.rename(job, name=name)
    assert Job.objects.get().name == job.name == "sentence-slt.wav"


def test_deleted_job_is_not_renamed(organization):
    job = make_job(organization)
    jobs.delete(Job.objects.get())
    with pytest.raises(NotFound):
        naming.rename(job, name="late")


def test_tag_is_written_as_it_was_first(organization):
    one, other = make_job(organization), make_job(organization)
    assert naming.tag(organization, job_ids=[one.pk], name="Legal") == 1
    assert naming.tag(organization, job_ids=[one.pk, other.pk], name=" LEGAL ") == 2
    assert tags_of(one) == tags_of(other) == ["Legal"]
    assert naming.tag_names(organization) == ["Legal"]
    assert found(organization, tag="Legal") == {one, other}
    naming.untag(organization, job_ids=[one.pk], name="Legal")
    assert found(organization, tag="Legal") == {other}


def test_tag_is_taken_as_it_is_given_and_counted(organization):
    one, other = make_job(organization), make_job(organization)
    naming.tag(organization, job_ids=[one.pk], name="Legal")
    assert naming.untag(organization, job_ids=[one.pk, other.pk], name=" le\u200bgal\0 ") == 1
    assert naming.untag(organization, job_ids=[one.pk, other.pk], name="Legal") == 0
    assert tags_of(one) == []


def test_earlier_tag_with_invisible_characters_can_be_taken(organization):
    job = make_job(organization)
    JobTag.objects.create(job=job, organization=organization, name="le\u200bgal")
    assert naming.untag(organization, job_ids=[job.pk], name="le\u200bgal") == 1


@pytest.mark.parametrize("name", ["", "   ", "\0", "x" * 41])
def test_tag_that_is_none_is_refused(organization, name):
    job = make_job(organization)
    with pytest.raises(InvalidField):
        naming.tag(organization, job_ids=[job.pk], name=name)
    with pytest.raises(InvalidField):
        naming.untag(organization, job_ids=[job.pk], name=name)
    assert tags_of(job) == []


def test_job_with_too_many_tags_keeps_all_from_another_one(organization):
    full, other = make_job(organization), make_job(organization)
    for number in range(naming.MAX_TAGS_PER_JOB):
        naming.tag(organization, job_ids=[full.pk], name=f"tag {number}")
    with pytest.raises(InvalidField):
        naming.tag(organization, job_ids=[full.pk, other.pk], name="one more")
    assert tags_of(other) == []
    assert naming.tag(organization, job_ids=[full.pk, other.pk], name="TAG 3") == 2, "which it has already"


def test_jobs_of_others_are_neither_tagged_nor_untagged(organization, charlies):
    job = make_job(organization)
    naming.tag(organization, job_ids=[job.pk], name="legal")
    assert naming.tag(charlies, job_ids=[job.pk], name="mine") == 0
    naming.untag(charlies, job_ids=[job.pk], name="legal")
    assert tags_of(job) == ["legal"]
    assert naming.tag_names(charlies) == []


def test_tags_go_with_their_job(organization):
    job = make_job(organization)
    naming.tag(organization, job_ids=[job.pk], name="legal")
    jobs.delete(job)
    assert not JobTag.objects.exists()
