"""States that a person would have to wait for, or that nobody should have: made in the rows of a running product."""

import json
from pathlib import Path
from typing import Any

from tests.product import Product

AUDIO = Path(__file__).parent.parent / "fixtures/audio"
DIALOGUE = (
    ("S1", "Good morning. This is the front desk. How can I help you?"),
    ("S2", "I would like to move my appointment to Thursday afternoon."),
    ("S1", "Of course. Can you come at half past two?"),
    ("S2", "Yes. That is perfect. Thank you very much for your help."),
    ("S3", "Excuse me, is this the line for new patients?"),
    ("S1", "You are welcome. We will see you on Thursday. Goodbye."),
)
HEBREW = (
    ("S1", "בוקר טוב. זה דלפק הקבלה. איך אפשר לעזור?"),
    ("S2", "אני רוצה להעביר את התור ליום חמישי ב־14:30."),
    ("S1", "בטח. נתראה ב Zoom בשעה שתיים וחצי."),
)
ARABIC = (
    ("S1", "صباح الخير. هذا مكتب الاستقبال. كيف يمكنني مساعدتك؟"),
    ("S2", "أريد نقل موعدي إلى يوم الخميس بعد الظهر."),
)


def made_in(product: Product, *, email: str) -> dict[str, str]:
    """Have the product's own database filled for a person who has signed up. Returns the path of each state."""
    code = f"import json; from tests.browser import states; print(json.dumps(states.make({email!r})))"
    printed = product.manage("shell", "--no-imports", "-c", code)
    return dict(json.loads(printed.splitlines()[-1]))


def make(email: str) -> dict[str, str]:
    """Fill the organizations of a person. Returns the path of each state by its name. Runs inside of the product.

    Imports here: Django is not set up where the browser is.
    """
    from datetime import timedelta

    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage
    from django.db import transaction
    from django.utils import timezone

    from accounts import organizations
    from accounts.links import page_url
    from accounts.models import Organization, User
    from billing import disputes, ledger, stripe_mapping
    from billing.models import EntryKind
    from billing.models.payments import TopUpState
    from tests.billing.stripe_objects import dispute_of, make_paid_topup, make_topup
    from tests.transcription.factories import make_submission
    from transcription import jobs
    from transcription.jobs import sharing
    from transcription.models import Job, JobItem, Media
    from transcription.models.webhooks import Delivery, DeliveryState, EventType, Fault
    from transcription.webhooks import endpoints

    person = User.objects.get(email=email)
    organization = Organization.objects.filter(memberships__user=person).order_by("created_at").first()
    assert organization is not None, "the person has signed up"
    ledger.credit(
        organization,
        amount_micros=50_000_000,
        kind=EntryKind.CREDIT,
        reference=f"states:{organization.pk}",
        description="Credit",
    )

    def submit(name: str, *, owner: Organization = organization) -> JobItem:
        content = (AUDIO / "dialogue.mp3").read_bytes()
        key = default_storage.save(f"media/{owner.pk}/{name}", ContentFile(content))
        media = Media.objects.create(
            organization=owner,
            name=name,
            storage_key=key,
            size_bytes=len(content),
            sha256="0" * 64,
            duration_ms=61_000,
            container="mp3",
            codec="mp3",
        )
        job = jobs.submit(make_submission(owner, dialect="pages", created_by=person), media=media)
        return job.items.get()

    def begin(name: str) -> JobItem:
        # In one transaction: no worker is to have it.
        with transaction.atomic():
            item = jobs.claim(submit(name).pk)
        assert item is not None, "it was inserted just now"
        return item

    def done(name: str, lines: tuple[tuple[str, str], ...], *, language: str = "en") -> JobItem:
        item = begin(name)
        assert jobs.finish_item(item, transcript=transcript(lines, language=language))
        return JobItem.objects.select_related("job").get(pk=item.pk)

    def page_of(item: JobItem | Job) -> str:
        return page_url(organization.pk, "transcript", item.job_id if isinstance(item, JobItem) else item.pk)

    made = {
        "conversation": page_of(conversation := done("Front desk, a call with three people.mp3", DIALOGUE)),
        "monologue": page_of(done("lecture.mp3", tuple(("S1", text) for _, text in DIALOGUE * 12))),
        "hebrew": page_of(done("שיחה עם הקבלה.mp3", HEBREW, language="he")),
        "arabic": page_of(done("مكالمة.mp3", ARABIC, language="ar")),
        "no-speech": page_of(done("silence.mp3", ())),
        "processing": page_of(running := begin("board meeting.mp3")),
    }
    jobs.touch(running, progress=40)
    failed = begin("a recording with a very long name that somebody has exported from a recorder (final) (2).m4a")
    jobs.reject_item(failed, error_type="not_audio", message="The file is text, not a recording.")
    made["failed"] = page_of(failed)
    with transaction.atomic():
        canceled = submit("canceled.mp3")
        jobs.cancel(canceled.job)
    made["canceled"] = page_of(canceled)

    for days, has_audio in ((7, True), (1, False)):
        _, token = sharing.share(conversation, days=days, has_audio=has_audio, by=person, now=timezone.now())
        made["shared-with-audio" if has_audio else "shared-without-audio"] = f"/s/{token}/"
    made["shared-revoked"] = "/s/none-of-them/"

    endpoint = endpoints.register(organization, url="https://example.com/hooks", events=[EventType.JOB_COMPLETED])
    for number, (state, fault) in enumerate(
        ((DeliveryState.DELIVERED, ""), (DeliveryState.FAILED, Fault.STATUS), (DeliveryState.FAILED, Fault.TIMEOUT))
    ):
        delivery = Delivery.objects.create(
            organization=organization,
            endpoint=endpoint,
            event=EventType.JOB_COMPLETED,
            url=endpoint.url,
            host="example.com:443",
            body="{}",
            state=state,
            fault=fault,
            attempt=10 if fault else 1,
            created_at=timezone.now() - timedelta(minutes=number),
            delivered_at=None if fault else timezone.now(),
            last_status=500 if fault == Fault.STATUS else None if fault else 200,
        )
        made["webhook-failed" if fault else "webhook-delivered"] = page_url(
            organization.pk, "webhook-delivery", delivery.pk
        )
    made["webhook-with-log"] = page_url(organization.pk, "webhook-endpoint", endpoint.pk)

    disputed = organizations.create(name="Disputed Inc.", owner=person)
    make_topup(disputed, 5_000)
    make_topup(disputed, 1_000, state=TopUpState.FAILED, failure="The bank declined the payment.")
    paid = make_paid_topup(disputed)
    disputes.withdraw(stripe_mapping.dispute(dispute_of(paid, 20_000, stripe_id=f"dp_{disputed.pk.hex}")))
    for name, view in (
        ("overview-on-hold", "overview"),
        ("billing-on-hold", "billing:billing"),
        ("payments-waiting", "billing:payments"),
        ("upload-on-hold", "upload"),
    ):
        made[name] = page_url(disputed.pk, view)

    return made


def transcript(lines: tuple[tuple[str, str], ...], *, language: str) -> Any:
    """Return a transcript of these lines, each with its speaker: a word every 0.4 s, some of which are doubtful."""
    from transcription.speech.transcript import Segment, Transcript, Word

    segments, at_ms = [], 0
    for speaker, text in lines:
        words = []
        for number, word in enumerate(text.split()):
            words.append(
                Word(
                    text=word,
                    start_ms=at_ms,
                    end_ms=at_ms + 350,
                    probability=0.35 if number % 7 == 3 else 0.95,
                    speaker=speaker,
                )
            )
            at_ms += 400
        segments.append(
            Segment(start_ms=words[0].start_ms, end_ms=words[-1].end_ms, text=text, words=tuple(words), speaker=speaker)
        )
        at_ms += 600
    return Transcript(
        language=language if lines else None,
        language_probability=0.98 if lines else None,
        duration_ms=61_000 if at_ms < 61_000 else at_ms,
        segments=tuple(segments),
        engine="faster_whisper",
        diarizer="neural",
        notes=(),
        peaks=tuple(20 + 37 * number % 80 for number in range(400)) if lines else (),
    )
