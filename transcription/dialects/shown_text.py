"""Text of a running job leaves the site only after it was recorded with its item, which is charged for it.

Whoever shows the events of a job, in whatever dialect, asks `payable` which of them may be shown
(docs/decisions/0028).
"""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from accounts.batcher import Batcher
from transcription import jobs
from transcription.jobs.events import Event

SEGMENT = "segment"
# The field of a segment that says what must be recorded before the segment is shown. It is not shown itself.
SHOWN = "shown"
REMEMBERED_ITEMS = 10_000


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is to be recorded of one item: the figures of all its text up to there."""

    item_id: str
    length_ms: int
    price_micros: int

    def or_more(self, other: "_Shown | None") -> "_Shown":
        if other is None:
            return self
        return _Shown(self.item_id, max(self.length_ms, other.length_ms), max(self.price_micros, other.price_micros))


async def payable(
    told: Sequence[Event], *, organization_id: uuid.UUID, remembered_items: int = REMEMBERED_ITEMS
) -> list[Event]:
    """Return the events without the text that nobody would pay for: of items that failed or were canceled meanwhile.

    told: events that came together, of one job. Their text is recorded by one write for each item, and by none if it
    was before. organization_id: of the job. Each organization's writes wait for each other only.
    remembered_items: of how many items this process knows what was recorded.
    """
    furthest: dict[str, _Shown] = {}
    for event in told:
        if SHOWN in event.data:
            shown = _Shown(**event.data[SHOWN])
            furthest[shown.item_id] = shown.or_more(furthest.get(shown.item_id))
    answers = await asyncio.gather(
        *(
            _record(shown, organization_id=organization_id, remembered_items=remembered_items)
            for shown in furthest.values()
        )
    )
    may_leave = {item_id for item_id, may in zip(furthest, answers, strict=True) if may}
    return [_without_figures(event) for event in told if event.name != SEGMENT or _item_of(event) in may_leave]


def _item_of(event: Event) -> str | None:
    """Return the item of a segment. None: an older version published it, and nobody would pay for it either."""
    return event.data[SHOWN]["item_id"] if SHOWN in event.data else None


def _without_figures(event: Event) -> Event:
    return Event(name=event.name, data={name: value for name, value in event.data.items() if name != SHOWN})


async def _record(shown: _Shown, *, organization_id: uuid.UUID, remembered_items: int) -> bool:
    """Return whether text of an item is recorded, and so may leave."""
    if _recorded_micros.get(shown.item_id, -1) < shown.price_micros:
        if not await _records.submit(shown, group=organization_id):
            return False
        _recorded_micros[shown.item_id] = max(shown.price_micros, _recorded_micros.get(shown.item_id, 0))
    _recorded_micros.move_to_end(shown.item_id)
    while len(_recorded_micros) > remembered_items:
        _recorded_micros.popitem(last=False)
    return True


def _record_all(batch: Sequence[_Shown]) -> Sequence[bool]:
    """Record what many watchers ask for, once for each item. Runs in a thread."""
    furthest: dict[str, _Shown] = {}
    for shown in batch:
        furthest[shown.item_id] = shown.or_more(furthest.get(shown.item_id))
    recorded = {
        item_id: jobs.record_shown(uuid.UUID(item_id), length_ms=shown.length_ms, price_micros=shown.price_micros)
        for item_id, shown in furthest.items()
    }
    return [recorded[shown.item_id] for shown in batch]


# Item -> what this process knows to be recorded. Whatever happens to the item, its text up to there needs no more.
# Only the event loop's thread uses it.
_recorded_micros: OrderedDict[str, int] = OrderedDict()
_records: Batcher[_Shown, bool] = Batcher(_record_all, max_batch_size=1000)
