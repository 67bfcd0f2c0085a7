"""Organizations are closed at once, opened again as they were, and deleted for good, and no other one notices."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core import mail
from django.db import connection
from django.utils import timezone

from accounts import api_keys, closures, organizations, tokens
from accounts.errors import Conflict, Forbidden, NotFound, PaymentRequired
from accounts.gate import caller_cache, idempotency
from accounts.models import ApiKey, Invitation, Membership, Organization, Role, Scope
from apex.models import Completion, State
from billing import automatic_topups, ledger, spend_alerts, stripe_mapping, topups
from billing.models import Entry, EntryKind, Hold, HoldState, SavedCard, TopUp, Wallet
from tests.billing.stripe_objects import make_paid_topup, make_topup, session_of
from tests.conftest import Api
from tests.transcription.factories import make_batch, make_job, make_media, make_transcript
from transcription import jobs
from transcription.models import Delivery, DeliveryState, Import, Job, JobItem, Status, Upload, UploadState
from transcription.recordings import imports, uploads
from transcription.speech.options import TranscriptionOptions
from transcription.webhooks import endpoints, outbox

# Whose rows stay: the wallet with its entries, payments, and the keys that the ledger names. The others have none left.
KEPT = {"billing.wallet", "billing.topup", "billing.customer", "accounts.apikey"}


@pytest.fixture
def owner(organization, alice):
    return Membership.objects.get(organization=organization, user=alice)


def fill(organization, *, owner):
    """Give an organization something in every table that can have rows of it. Returns its key."""
    ledger.credit(organization, amount_micros=50_000_000, kind=EntryKind.CREDIT, reference=f"gift:{organization.pk}")
    key, secret = api_keys.issue(organization, name="production", by=owner.user, scopes=list(Scope))
    api_keys.issue(organization, name="never used", by=owner.user)
    tokens.issue(key, name="visitor", scopes=["chat"], lifetime=timedelta(minutes=5), spend_limit_micros=9)
    organizations.invite(organization, email=f"guest@{organization.pk}.example", role=Role.MEMBER, by=owner)
    endpoint = endpoints.register(organization, url="https://example.com/hook", events=list(endpoints.EVENTS))
    outbox.test(endpoint)
    done = make_job(organization, api_key=key, created_by=owner.user, metadata={"customer": "acme"})
    jobs.finish_item(jobs.claim(done.items.get().pk), transcript=make_transcript())
    make_job(organization)
    make_batch(organization, 3)
    make_media(organization)
    jobs.submit_uploads(
        jobs.Submission(organization=organization, options=TranscriptionOptions(), model="standard", dialect="native"),
        uploads=[uploads.begin(organization, name="late.wav", declared_bytes=9)],
        name="late.wav",
    )
    imports.begin(organization, url="https://example.com/a.wav", is_for_later=True)
    hold = ledger.reserve(organization, amount_micros=5_000, reference=f"chat:{organization.pk}", api_key=key)
    ledger.settle(hold, actual_micros=3_000)
    Completion.objects.create(
        organization=organization,
        api_key=key,
        hold=hold,
        model="apex-latest",
        state=State.CHARGED,
        cost_micros=3_000,
        prompt_tokens=1,
        completion_tokens=1,
        ended_at=timezone.now(),
    )
    SavedCard.objects.create(organization=organization, payment_method_id=f"pm_{organization.pk.hex}")
    automatic_topups.turn_on(
        organization, person=owner.user, threshold_cents=500, amount_cents=5_000, monthly_cap_cents=5_000
    )
    ledger.set_monthly_limit(organization, limit_micros=90_000_000)
    spend_alerts.set_percents(organization, api_key=None, percents=[50])
    paid = make_paid_topup(organization)
    TopUp.objects.filter(pk=paid.pk).update(person=owner.user)
    make_topup(organization, person=owner.user, save_card=True)
    idempotency.claim(organization, key="once", request_fingerprint="0")
    return secret


def rows_of(organization):
    """Return the rows of every table that refers to the organization, by the name of the model."""
    rows = {}
    for relation in Organization._meta.related_objects:
        model = relation.related_model
        found = model._base_manager.filter(**{relation.field.name: organization}).order_by("pk")
        rows[model._meta.label_lower] = list(found.values())
    below = {Entry: "wallet", Hold: "wallet", JobItem: "job"}
    for model, name in below.items():
        found = model._base_manager.filter(**{f"{name}__organization": organization}).order_by("pk")
        rows[model._meta.label_lower] = list(found.values())
    return rows


def files_of(organization):
    return sorted(
        path.relative_to(settings.MEDIA_ROOT).as_posix()
        for path in Path(settings.MEDIA_ROOT).rglob("*")
        if path.is_file() and str(organization.pk) in path.as_posix()
    )


def faults():
    """Return what `check_ledger` says."""
    return "\n".join(ledger.faults())


def pass_grace(organization):
    Organization.objects.filter(pk=organization.pk).update(delete_at=timezone.now() - timedelta(seconds=1))


# --- Closing ---------------------------------------------------------------------------------------------------------


def test_keys_and_tokens_are_refused_at_once(organization, owner):
    key, secret = api_keys.issue(organization, name="x", by=None)
    _, token = tokens.issue(key, name="y", scopes=["chat"], lifetime=timedelta(minutes=5), spend_limit_micros=9)
    assert Api(secret).get("/v1/balance").status_code == 200
    closures.close(owner)
    for credential in (secret, token):
        answer = Api(credential).get("/v1/jobs")
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "invalid_api_key")


def test_caller_that_was_known_a_moment_ago_is_admitted_nothing(organization, owner):
    _, secret = api_keys.issue(organization, name="x", by=None)
    caller = caller_cache.authenticate(secret)
    closures.close(owner)
    with pytest.raises(PaymentRequired):
        ledger.reserve(caller.organization, amount_micros=0, reference="late", api_key=caller.api_key)
    assert caller_cache.MAX_AGE_SECONDS < 1


def test_only_an_owner_closes(organization, owner, bob):
    member = Membership.objects.get(organization=organization, user=bob)
    for role in (Role.MEMBER, Role.ADMIN):
        Membership.objects.filter(pk=member.pk).update(role=role)
        # The row says owner; the database does not.
        member.role = Role.OWNER
        with pytest.raises(Forbidden):
            closures.close(member)
    organization.refresh_from_db()
    assert not organization.is_closed


def test_second_click_closes_nothing(organization, owner):
    first = closures.close(owner)
    with pytest.raises(NotFound):
        closures.close(owner)
    organization.refresh_from_db()
    assert organization.delete_at == first


def test_running_work_is_canceled_without_a_charge(organization, owner):
    balance = Wallet.objects.of(organization).get().balance_micros
    job, batch = make_job(organization), make_batch(organization, 3)
    worked_on = jobs.claim(job.items.get().pk)
    closures.close(owner)
    closures.end_work(organization)
    # Its worker has not heard of it, and finishes.
    assert not jobs.finish_item(worked_on, transcript=make_transcript())
    assert set(Job.objects.values_list("pk", "status")) == {(one.pk, Status.CANCELED) for one in (job, batch)}
    wallet = Wallet.objects.of(organization).get()
    assert (wallet.balance_micros, wallet.held_micros) == (balance, 0)
    assert not Hold.objects.open().exists()
    assert faults() == ""


def test_uploads_and_imports_end(organization, owner):
    upload = uploads.begin(organization, name="a.wav", declared_bytes=9)
    imports.begin(organization, url="https://example.com/a.wav", is_for_later=True)
    fetched = imports.claim_next()
    closures.close(owner)
    closures.end_work(organization)
    assert set(Upload.objects.values_list("state", flat=True)) == {UploadState.EXPIRED}
    with pytest.raises(Conflict):
        uploads.require_waiting(upload)
    assert not imports.touch(fetched)
    assert not Import.objects.exists()


def test_nothing_is_told_any_more(organization, owner):
    endpoint = endpoints.register(organization, url="https://example.com/", events=["job.canceled", "job.completed"])
    told = outbox.test(endpoint)
    job = make_job(organization)
    closures.close(owner)
    told.refresh_from_db()
    assert (told.state, told.next_attempt_at) == (DeliveryState.FAILED, None)
    closures.end_work(organization)
    job.refresh_from_db()
    assert job.status == Status.CANCELED
    assert Delivery.objects.count() == 1


def test_card_is_charged_no_more(organization, owner):
    fill(organization, owner=owner)
    closures.close(owner)
    assert not automatic_topups.settings_of(organization).is_on
    # A request that had begun before turns it on.
    automatic_topups.turn_on(
        organization, person=None, threshold_cents=500, amount_cents=5_000, monthly_cap_cents=5_000
    )
    closures.end_late_work(now=timezone.now())
    assert not automatic_topups.settings_of(organization).is_on


def test_clock_ends_what_a_killed_request_has_left(organization, owner):
    job = make_job(organization)
    closures.close(owner)
    closures.end_late_work(now=timezone.now())
    job.refresh_from_db()
    assert job.status == Status.CANCELED


def test_invitations_lead_nowhere(organization, owner, charlie):
    _, token = organizations.invite(organization, email=charlie.email, role=Role.MEMBER, by=owner)
    closures.close(owner)
    with pytest.raises(NotFound):
        organizations.accept(token, user=charlie)
    assert not Membership.objects.filter(organization=organization, user=charlie).exists()


def test_owners_are_told(organization, owner, alice, bob):
    Membership.objects.filter(user=bob).update(role=Role.OWNER)
    closures.close(owner)
    organization.refresh_from_db()
    closures.tell_owners(organization, by=alice)
    (told,) = mail.outbox
    assert set(told.to) == {alice.email, bob.email}
    assert f"{settings.SITE_URL}/organization/deleted/" in told.body
    assert "not refunded automatically" in told.body


# --- Opening again ---------------------------------------------------------------------------------------------------


def test_organization_is_opened_again_as_it_was(organization, owner, alice, bob):
    secret = fill(organization, owner=owner)
    before = rows_of(organization)
    closures.close(owner)
    assert list(closures.closed_of(alice)) == [organization]
    closures.open_again(organization.pk, by=alice)
    after = rows_of(organization)
    changed = {"billing.automatictopup", "transcription.delivery", "billing.wallet", "accounts.apikey"}
    for name in set(before) - changed:
        assert after[name] == before[name], name
    assert Api(secret).get("/v1/balance").status_code == 200
    assert not Wallet.objects.of(organization).get().is_frozen
    ledger.reserve(organization, amount_micros=1, reference="again")
    # It costs money, so nobody turns it on but a person.
    assert not automatic_topups.settings_of(organization).is_on


def test_dispute_keeps_an_opened_organization_frozen(organization, owner, alice):
    ledger.freeze(organization, reason="dispute:1")
    closures.close(owner)
    closures.open_again(organization.pk, by=alice)
    assert Wallet.objects.of(organization).get().is_frozen
    assert faults() == ""


def test_only_an_owner_opens_again(organization, owner, alice, bob, charlie):
    closures.close(owner)
    for other in (bob, charlie):
        assert not closures.closed_of(other).exists()
        with pytest.raises(NotFound):
            closures.open_again(organization.pk, by=other)
    closures.open_again(organization.pk, by=None)
    with pytest.raises(NotFound):
        closures.open_again(organization.pk, by=alice)


def test_nobody_opens_what_is_due(organization, owner, alice):
    closures.close(owner)
    pass_grace(organization)
    assert not closures.closed_of(alice).exists()
    with pytest.raises(Conflict):
        closures.open_again(organization.pk, by=alice)


# --- Deleting --------------------------------------------------------------------------------------------------------


def test_nothing_is_deleted_before_its_time(organization, owner):
    fill(organization, owner=owner)
    closures.close(owner)
    assert closures.delete_due(now=timezone.now() + timedelta(days=6, hours=23)) == 0
    assert organization.memberships.exists()
    assert organization.jobs.exists()


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_all_goes_but_the_books_and_another_organization_notices_nothing(
    organization, owner, alice, bob, charlies, charlie
):
    # Bob is in both. Charlie's organization has the same things.
    Membership.objects.create(organization=charlies, user=bob, role=Role.ADMIN)
    fill(organization, owner=owner)
    stranger = fill(charlies, owner=Membership.objects.get(organization=charlies, user=charlie))
    entries = list(Entry.objects.of(organization).order_by("pk").values())
    others, files_of_others = rows_of(charlies), files_of(charlies)
    assert files_of(organization)
    assert faults() == ""
    closures.close(owner)
    closures.end_work(organization)
    pass_grace(organization)
    # Each round is so short that it ends after a step: as if it were killed there.
    for _ in range(100):
        if closures.delete_due(now=timezone.now(), seconds=0):
            break
        assert faults() == ""
    organization.refresh_from_db()
    assert organization.deleted_at is not None
    assert {name for name, rows in rows_of(organization).items() if rows} - KEPT == {"billing.entry", "billing.hold"}
    assert list(Entry.objects.of(organization).order_by("pk").values()) == entries
    assert files_of(organization) == []
    assert faults() == ""
    # Nothing that stays names anybody.
    kept = str([rows_of(organization), Organization.objects.filter(pk=organization.pk).values()])
    for word in (alice.email, "alice", "production", "never used", "sentence-slt", "late.wav", "acme"):
        assert word not in kept, word
    assert not TopUp.objects.of(organization).exclude(person=None).exists()
    assert not TopUp.objects.of(organization).open().filter(save_card=True).exists()
    key = ApiKey.objects.get(organization=organization)
    assert (key.name, key.prefix, key.created_by) == ("Deleted key", "", None)
    assert key.revoked_at is not None
    # The people stay, and Bob still works in the other one.
    assert Membership.objects.get(user=bob).organization == charlies
    assert rows_of(charlies) == others
    assert files_of(charlies) == files_of_others
    assert Api(stranger).get("/v1/balance").status_code == 200
    assert closures.delete_due(now=timezone.now()) == 0


def test_disputed_wallet_keeps_its_money_and_stays_frozen(organization, owner):
    ledger.freeze(organization, reason="dispute:1")
    balance = Wallet.objects.of(organization).get().balance_micros
    closures.close(owner)
    pass_grace(organization)
    assert closures.delete_due(now=timezone.now()) == 1
    wallet = Wallet.objects.of(organization).get()
    assert (wallet.balance_micros, wallet.is_frozen) == (balance, True)
    assert faults() == ""


def test_payment_that_runs_meanwhile_is_credited_and_saves_no_card(organization, owner):
    topup = make_topup(organization, 2_000, person=owner.user, save_card=True)
    balance = Wallet.objects.of(organization).get().balance_micros
    closures.close(owner)
    pass_grace(organization)
    assert closures.delete_due(now=timezone.now()) == 1
    topups.fulfil(stripe_mapping.payment_of_checkout(session_of(topup)))
    assert Wallet.objects.of(organization).get().balance_micros == balance + 20_000_000
    assert not SavedCard.objects.exists()
    assert faults() == ""


def test_completion_that_runs_is_waited_for(organization, owner):
    hold = ledger.reserve(organization, amount_micros=5_000, reference="chat:1")
    running = Completion.objects.create(organization=organization, hold=hold, model="apex-latest")
    closures.close(owner)
    pass_grace(organization)
    assert closures.delete_due(now=timezone.now()) == 0
    ledger.release(hold)
    Completion.objects.filter(pk=running.pk).update(state=State.RELEASED, ended_at=timezone.now())
    assert closures.delete_due(now=timezone.now()) == 1
    assert not Completion.objects.exists()


def test_item_that_is_worked_on_while_all_is_deleted_leaves_nothing(organization, owner):
    worked_on = jobs.claim(make_job(organization).items.get().pk)
    closures.close(owner)
    pass_grace(organization)
    assert closures.delete_due(now=timezone.now()) == 1
    assert not jobs.finish_item(worked_on, transcript=make_transcript())
    assert not Job.objects.exists()
    assert not Entry.objects.of(organization).filter(kind=EntryKind.USAGE).exists()
    assert Hold.objects.get().state == HoldState.RELEASED
    assert files_of(organization) == []


def test_error_stops_its_own_organization_only(organization, owner, charlies, charlie, caplog):
    class Broken(Exception):
        pass

    def delete(one, *, ends_at):
        if one == organization:
            raise Broken
        return True

    for membership in (owner, Membership.objects.get(organization=charlies, user=charlie)):
        closures.close(membership)
        pass_grace(membership.organization)
    closures.register(closures.Part(name="broken", delete=delete))
    try:
        assert closures.delete_due(now=timezone.now()) == 1
    finally:
        closures._parts.pop("broken")
    charlies.refresh_from_db()
    assert charlies.deleted_at is not None
    assert closures.delete_due(now=timezone.now()) == 1


def test_personal_organization_that_was_deleted_is_replaced_without_a_second_credit(organization, owner, alice):
    closures.close(owner)
    organizations.email_was_verified(alice)
    new = Organization.objects.get(memberships__user=alice, closed_at=None)
    assert new != organization
    assert not Entry.objects.of(new).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_of_closing_and_ordering_at_once_no_hold_is_left(organization, owner):
    """Orders run while the organization is closed: what came first is canceled, what came later is refused."""
    started, refused = threading.Event(), []

    def order():
        for _ in range(30):
            try:
                make_job(organization)
            except PaymentRequired as error:
                refused.append(error)
            started.set()
        connection.close()

    thread = threading.Thread(target=order)
    thread.start()
    started.wait(10)
    closures.close(owner)
    thread.join()
    closures.end_late_work(now=timezone.now())
    assert refused
    assert not Hold.objects.open().exists()
    assert not Job.objects.exclude(status=Status.CANCELED).exists()
    assert faults() == ""


def test_deleted_row_is_not_counted_as_invited(organization, owner):
    organizations.invite(organization, email="guest@example.com", role=Role.MEMBER, by=owner)
    closures.close(owner)
    pass_grace(organization)
    closures.delete_due(now=timezone.now())
    assert not Invitation.objects.exists()
