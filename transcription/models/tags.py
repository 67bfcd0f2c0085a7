"""Tags by which people file transcripts. Only `jobs.naming` writes these rows.

They are no tags of charges, which programs send as `metadata` (`billing.charge_tags`).
"""

from django.db import models

from accounts.models import Organization
from transcription.models.jobs import Job

MAX_TAG_CHARACTERS = 40


class JobTag(models.Model):
    """A tag of a job. Gone with its job."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="tags", db_index=False)
    # That of the job, so that all tags of an organization are found without its jobs.
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+", db_index=False)
    name = models.CharField(max_length=MAX_TAG_CHARACTERS)

    class Meta:
        ordering = ["name"]
        constraints = [
            # Its index also finds the tags of a job.
            models.UniqueConstraint(fields=["job", "name"], name="one_tag_of_a_name_per_job"),
            models.CheckConstraint(condition=~models.Q(name=""), name="job_tag_has_a_name"),
        ]
        indexes = [models.Index(fields=["organization", "name"], name="tags_of_organization")]

    def __str__(self) -> str:
        return f"{self.name} of {self.job_id}"
