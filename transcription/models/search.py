"""The words by which jobs are found. Only `jobs.search` writes them."""

from django.db import models

from transcription.models.jobs import Job


class SearchText(models.Model):
    """A stretch of the words that belong to a job: its names, or a part of a transcript.

    Gone with its job. On PostgreSQL the table has a column `document` more, a tsvector that the database makes of
    `words`, and a GIN index of it (migration 0011).
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="search_texts", db_index=False)
    # Of the recording in the job; and of the stretch in the recording: 0 has the names, the others the transcript.
    position = models.PositiveIntegerField()
    number = models.PositiveIntegerField()
    # As `jobs.search.normalized` makes them, with a blank before, between and after the words.
    words = models.TextField()

    class Meta:
        constraints = [
            # Its index also finds the rows of a job.
            models.UniqueConstraint(fields=["job", "position", "number"], name="one_search_text_per_stretch"),
        ]

    def __str__(self) -> str:
        return f"words {self.number} of item {self.position} of {self.job_id}"
