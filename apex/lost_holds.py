"""Charges completions whose hold a crash of the database server has lost.

An admission does not wait for the disk (docs/decisions/0057). So a crash may lose its hold and its row, though the
answer goes on. Both are then made again at the end, as far as the balance covers, and charged as usual.
"""

import logging
from dataclasses import replace

from django.db import transaction

from apex import completion_sql
from apex.types import CompletionResult
from billing import ledger
from billing.models import Entry

logger = logging.getLogger(__name__)


def charge_anew(result: CompletionResult, charge: ledger.Charge) -> Entry | ledger.Refusal | None:
    """Charge a completion whose hold is lost. Returns what `ledger.settle_each` does for one charge.

    charge: its charge, against the lost hold. Nothing is made for a price of zero.
    """
    completion = result.completion
    logger.warning("The hold of the completion %s was lost by a crash of the database.", completion.completion_id)
    if charge.actual_micros == 0:
        return None
    try:
        with transaction.atomic():
            hold = ledger.reserve_up_to(
                completion.organization,
                at_least_micros=0,
                at_most_micros=charge.actual_micros,
                reference=charge.hold.reference,
                api_key=completion.api_key,
            )
            completion_sql.insert_running([replace(completion, hold=hold)])
    except ledger.REFUSALS as refusal:
        return refusal
    (settled,) = ledger.settle_each([replace(charge, hold=hold)])
    return settled
