"""Tags of charges: what customers call their costs by. Kept beside the ledger, which nobody can delete from."""

from django.db import models
from django.utils import timezone

from billing.models.ledger import Entry

MAX_NAME_LENGTH = 64
MAX_VALUE_LENGTH = 128
MAX_REFERENCE_LENGTH = 200


class ChargeTag(models.Model):
    """One tag of a charge, such as customer=acme. Written by `charge_tags` only.

    A row for each, and no JSON beside the entry: the names are the customers' own, and JSON paths read a name like "1"
    as a place in a list.
    """

    # The constraint below begins with it.
    entry = models.ForeignKey(Entry, on_delete=models.PROTECT, related_name="tags", db_index=False)
    name = models.CharField(max_length=MAX_NAME_LENGTH)
    value = models.CharField(max_length=MAX_VALUE_LENGTH)
    # The work that the charge is about, where it is not the charge of that work: "job:<id>" for a summary of the job.
    # Who deletes the work deletes the tag. Empty for all others. The database has a default, so that processes of the
    # version before may insert rows.
    work_reference = models.CharField(max_length=MAX_REFERENCE_LENGTH, blank=True, default="", db_default="")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["entry", "name"], name="one_tag_of_a_name_per_charge"),
            models.CheckConstraint(condition=~models.Q(name=""), name="tag_has_a_name"),
        ]
        indexes = [
            # For the clock, which deletes the old ones.
            models.Index(fields=["created_at"], name="tags_by_time"),
            models.Index(fields=["work_reference"], condition=~models.Q(work_reference=""), name="tags_by_work"),
        ]

    def __str__(self) -> str:
        return f"{self.name}={self.value}"
