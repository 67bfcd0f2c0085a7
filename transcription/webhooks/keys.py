"""The keys that sign webhooks: made, published ahead, used, published for a while after, deleted.

A receiver may keep the document of public keys for a day. So a new key is published that long before it signs, and the
key before it stays published until no request with its signature can be on its way or in a receiver's queue.
"""

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from accounts import encryption
from transcription.models import SigningKey
from transcription.webhooks import signatures
from transcription.webhooks.signatures import PrivateKey

# How long one key signs, how long before it is published, how long after.
SIGNS_FOR = timedelta(days=90)
PUBLISHED_AHEAD = timedelta(days=2)
PUBLISHED_AFTER = timedelta(days=7)


def signing_key(*, now: datetime) -> PrivateKey:
    """Return the key that signs now. The very first one is made by the first call."""
    row = SigningKey.objects.filter(signs_from__lte=now).order_by("-number").first()
    if row is None:
        make_next(now=now, signs_from=now)
        row = SigningKey.objects.filter(signs_from__lte=now).order_by("-number")[0]
    return PrivateKey.from_text(row.kid, encryption.decrypt(row.private_key))


def public_document(*, now: datetime) -> dict[str, list[dict[str, str]]]:
    """Return the document of public keys: the one that signs, then newer ones, then older ones."""
    signs = signing_key(now=now).kid
    rows = sorted(SigningKey.objects.all(), key=lambda row: (row.kid != signs, -row.number))
    return signatures.public_document([(row.kid, row.public_key) for row in rows])


def rotate(*, now: datetime) -> None:
    """Make the next key when its time has come, and delete those that are not needed any more. For the clock."""
    signing_key(now=now)
    newest = SigningKey.objects.order_by("-number")[0]
    if newest.signs_from <= now - SIGNS_FOR + PUBLISHED_AHEAD:
        make_next(now=now, signs_from=max(now + PUBLISHED_AHEAD, newest.signs_from + SIGNS_FOR), after=newest.number)
    for row in SigningKey.objects.all():
        if SigningKey.objects.filter(number__gt=row.number, signs_from__lte=now - PUBLISHED_AFTER).exists():
            row.delete()


def replace_now(*, now: datetime) -> str:
    """Sign with a new key from now on and stop publishing all others: for a key that strangers may have.

    Returns the name of the new key. Receivers that keep the document refuse webhooks until they fetch it again; the
    retries reach them then.
    """
    with transaction.atomic():
        old = list(SigningKey.objects.select_for_update().values_list("pk", "number"))
        number = make_next(now=now, signs_from=now, after=max((number for _, number in old), default=0))
        SigningKey.objects.filter(pk__in=[pk for pk, _ in old]).delete()
    return f"v{number}"


def make_next(*, now: datetime, signs_from: datetime, after: int = 0) -> int:
    """Insert the key with the number after `after`, unless another process has just done it. Returns the number."""
    number = after + 1
    made = PrivateKey.generate(f"v{number}")
    try:
        with transaction.atomic():
            SigningKey.objects.create(
                number=number,
                public_key=made.public_text(),
                private_key=encryption.encrypt(made.to_text()),
                created_at=now,
                signs_from=signs_from,
            )
    except IntegrityError:
        pass
    return number
