import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import Organization, User
from billing import ledger, topups, unmatched_events
from billing.models import Entry, EntryKind, Freeze, Hold, Wallet
from billing.models.payments import AutomaticTopUp, Customer, TopUp, UnmatchedEvent
from billing.models.reversals import Dispute, Refund, RefundState
from tests.billing.conftest import fund, money_of
from tests.billing.stripe_objects import dispute_of, make_paid_topup, make_topup, refund_of, tell
from tests.stripe import StripeSandbox

MODELS = [Wallet, Entry, Hold, Freeze, TopUp, Refund, Dispute, UnmatchedEvent, AutomaticTopUp, Customer]


@pytest.fixture
def paid(acme: Organization) -> TopUp:
    """$200, which brought $10."""
    return make_paid_topup(acme)


@pytest.fixture
def one_of_each(paid: TopUp, acme: Organization) -> None:
    ledger.reserve(acme, amount_micros=1, reference="job:1")
    tell("refund.created", refund_of(paid, 100))
    tell("charge.dispute.funds_withdrawn", dispute_of(paid, 100))
    unmatched_events.record(
        subject="checkout", stripe_id="cs_1", reason="wrong_amount", explanation="Paid 1, asked for 2."
    )
    AutomaticTopUp.objects.create(organization=acme)
    Customer.objects.create(organization=acme, stripe_id="cus_1")


@pytest.fixture
def operator(client_of: Callable[[User], Client]) -> Callable[..., Client]:
    """A browser of a staff member with only these permissions."""

    def sign_in(*codenames: str) -> Client:
        user = User.objects.create_user("operator@example.com", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(content_type__app_label="billing", codename__in=codenames))
        return client_of(user)

    return sign_in


def page(name: str, row: Any = None) -> str:
    return reverse(f"admin:billing_{name}", args=[] if row is None else [row.pk])


# --- Reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("model", MODELS)
def test_even_root_reads_and_cannot_write(
    one_of_each: None, client_of: Callable[[User], Client], model: type[Any]
) -> None:
    client = client_of(User.objects.create_superuser("root@example.com"))
    name, row = model.__name__.lower(), model.objects.first()
    assert client.get(page(f"{name}_changelist")).status_code == 200
    assert client.get(page(f"{name}_changelist"), {"q": "acme"}).status_code == 200
    assert client.get(page(f"{name}_change", row)).status_code == 200
    assert client.post(page(f"{name}_change", row), {}).status_code == 403
    assert client.get(page(f"{name}_add")).status_code == 403
    assert client.post(page(f"{name}_delete", row), {"post": "yes"}).status_code == 403
    listed = client.get(page(f"{name}_changelist")).content.decode()
    assert "delete_selected" not in listed


@pytest.mark.long
@pytest.mark.parametrize("model", MODELS)
def test_operator_without_permission_sees_nothing(
    one_of_each: None, operator: Callable[..., Client], model: type[Any]
) -> None:
    name, row = model.__name__.lower(), model.objects.first()
    client = operator()
    assert client.get(page(f"{name}_changelist")).status_code == 403
    assert client.get(page(f"{name}_change", row)).status_code == 403


@pytest.mark.parametrize("named", ["checkout_session_id", "payment_intent_id", "pk"])
def test_topup_is_found_by_what_people_have_in_hand(paid: TopUp, operator: Callable[..., Client], named: str) -> None:
    make_topup(paid.organization, 1_000)
    answer = operator("view_topup").get(page("topup_changelist"), {"q": str(getattr(paid, named))})
    assert list(answer.context["cl"].result_list) == [paid]


def test_topup_is_found_by_its_refund(paid: TopUp, operator: Callable[..., Client]) -> None:
    tell("refund.created", refund_of(paid, 100, stripe_id="re_wanted"))
    answer = operator("view_topup", "view_refund").get(page("topup_changelist"), {"q": "re_wanted"})
    assert list(answer.context["cl"].result_list) == [paid]


# --- What an operator may do -----------------------------------------------------------------------------------------

ACTIONS = [
    ("wallet", "credit", "view_wallet", "add_entry", {"amount": "1.00", "reason": "Sorry."}),
    ("topup", "refund", "view_topup", "add_refund", {"amount": "1.00", "reason": "Asked by mail."}),
    ("freeze", "lift", "view_freeze", "change_freeze", {}),
]
TOKEN = "9f4c2f54-6a1e-4a8e-9f7e-0d4f5b1c7a11"


# For a freeze the permission alone is enough: in Django the right to change a row includes the right to view it.
@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "action", "view", "permission", "fields", "has"),
    [
        (*action, has)
        for action in ACTIONS
        for has in ("nothing", "view", "permission")
        if (action[0], has) != ("freeze", "permission")
    ],
)
def test_action_takes_both_permissions(
    one_of_each: None,
    operator: Callable[..., Client],
    acme: Organization,
    model: str,
    action: str,
    view: str,
    permission: str,
    fields: dict[str, str],
    has: str,
) -> None:
    row = {"wallet": Wallet, "topup": TopUp, "freeze": Freeze}[model].objects.first()
    entries = Entry.objects.count()
    client = operator(*{"nothing": [], "view": [view], "permission": [permission]}[has])
    address = page(f"{model}_{action}", row)
    assert client.get(address).status_code == 403
    assert client.post(address, {**fields, "token": TOKEN}).status_code == 403
    assert Entry.objects.count() == entries
    assert Freeze.objects.filter(lifted_at=None).exists()
    if has == "view":
        assert action + "/" not in client.get(page(f"{model}_change", row)).content.decode()


def test_credit_names_its_author_and_its_reason(operator: Callable[..., Client], acme: Organization) -> None:
    wallet = fund(acme, 1)
    client = operator("view_wallet", "add_entry", "view_entry")
    address = page("wallet_credit", wallet)
    assert "credit/" in client.get(page("wallet_change", wallet)).content.decode()
    assert client.get(address).status_code == 200
    for _ in range(2):
        # A form sent twice is one credit.
        answer = client.post(address, {"amount": "12.34", "reason": "Sorry for Monday.", "token": TOKEN})
        assert answer.status_code == 302
    entry = Entry.objects.get(reference=f"credit:{TOKEN}")
    assert (entry.kind, entry.amount_micros, entry.description) == (EntryKind.CREDIT, 12_340_000, "Sorry for Monday.")
    assert entry.details["author"] == "operator@example.com"
    assert entry.details["reason"] == "Sorry for Monday."
    assert money_of(acme) == (12_340_001, 0)


@pytest.mark.long
@pytest.mark.parametrize(
    "fields",
    [
        {"amount": "0", "reason": "x"},
        {"amount": "-1", "reason": "x"},
        {"amount": "0.001", "reason": "x"},
        {"amount": "10000.01", "reason": "x"},
        {"amount": "nan", "reason": "x"},
        {"amount": "1", "reason": ""},
        {"amount": "", "reason": "x"},
    ],
)
def test_credit_needs_an_amount_and_a_reason(
    operator: Callable[..., Client], acme: Organization, fields: dict[str, str]
) -> None:
    wallet = fund(acme, 1)
    client = operator("view_wallet", "add_entry")
    assert client.post(page("wallet_credit", wallet), {**fields, "token": TOKEN}).status_code == 200
    assert money_of(acme) == (1, 0)


def test_operator_starts_a_refund(
    operator: Callable[..., Client], stripe_sandbox: StripeSandbox, acme: Organization
) -> None:
    payer = User.objects.create_user("payer@example.com")
    topup = topups.start_checkout(
        acme, amount_cents=20_000, person=payer, save_card=False, success_url="http://a/", cancel_url="http://a/"
    ).topup
    stripe_sandbox.pay(topup.checkout_session_id)
    topups.confirm(topup)
    client = operator("view_topup", "add_refund")
    address = page("topup_refund", topup)
    assert 'value="200.00"' in client.get(address).content.decode()
    too_much = client.post(address, {"amount": "200.01", "reason": "x", "token": TOKEN})
    assert "$200.00 of this payment can be refunded" in too_much.content.decode()
    for _ in range(2):
        assert client.post(address, {"amount": "50", "reason": "x", "token": TOKEN}).status_code == 302
    refund = Refund.objects.get()
    assert (refund.state, refund.amount_cents) == (RefundState.SUCCEEDED, 5_000)
    assert refund.person is not None
    assert refund.person.email == "operator@example.com"
    assert money_of(acme) == (157_500_000, 0)


def test_operator_lifts_the_freeze_of_a_lost_dispute_but_no_debt(
    paid: TopUp, operator: Callable[..., Client], acme: Organization
) -> None:
    ledger.settle(ledger.reserve(acme, amount_micros=1, reference="job:1"), actual_micros=1)
    tell("charge.dispute.funds_withdrawn", dispute_of(paid, 20_000))
    client = operator("view_freeze", "change_freeze")
    for reason, status in (("dispute:dp_1", 302), (ledger.DEBT, 200)):
        assert client.post(page("freeze_lift", Freeze.objects.get(reason=reason))).status_code == status
    assert list(Freeze.objects.filter(lifted_at=None).values_list("reason", flat=True)) == [ledger.DEBT]


def test_unmatched_event_is_seen_with_its_reason_and_marked_as_resolved(
    operator: Callable[..., Client], db: None
) -> None:
    event = unmatched_events.record(
        subject="checkout", stripe_id="cs_1", reason="wrong_amount", explanation="Paid 1, not 2."
    )
    client = operator("view_unmatchedevent", "change_unmatchedevent")
    address = page("unmatchedevent_changelist")
    assert "Paid 1, not 2." in client.get(address).content.decode()
    assert client.post(address, {"action": "resolve", "_selected_action": [event.pk]}).status_code == 302
    event.refresh_from_db()
    assert event.resolved_at is not None
    assert event.resolved_by is not None
    assert client.get(page("unmatchedevent_add")).status_code == 403


def test_unmatched_event_is_not_resolved_without_permission(operator: Callable[..., Client], db: None) -> None:
    event = unmatched_events.record(
        subject="checkout", stripe_id="cs_1", reason="wrong_amount", explanation="Paid 1, not 2."
    )
    operator("view_unmatchedevent").post(
        page("unmatchedevent_changelist"), {"action": "resolve", "_selected_action": [event.pk]}
    )
    event.refresh_from_db()
    assert event.resolved_at is None


def test_operator_may_give_a_single_cent(operator: Callable[..., Client], acme: Organization) -> None:
    wallet = fund(acme, 1)
    client = operator("view_wallet", "add_entry")
    answer = client.post(page("wallet_credit", wallet), {"amount": "0.01", "reason": "A cent.", "token": TOKEN})
    assert answer.status_code == 302
    assert money_of(acme) == (10_001, 0)


# --- Addresses that nobody linked to ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "words"), [(Wallet, "Give a credit"), (Freeze, "Lift the freeze"), (TopUp, "Start a refund")]
)
def test_button_leads_to_the_action(
    one_of_each: None, client_of: Callable[[User], Client], model: type[Any], words: str
) -> None:
    client = client_of(User.objects.create_superuser("root@example.com"))
    row = page(f"{model.__name__.lower()}_change", model.objects.first())
    (target,) = re.findall(rf'<a href="([^"]+)">{words}</a>', client.get(row).content.decode())
    response = client.get(urljoin(row, target))
    assert response.status_code == 200
    assert f'value="{words}"' in response.content.decode()
    assert "<strong>Acme</strong>" in response.content.decode()


@pytest.mark.long
@pytest.mark.parametrize("model", [Entry, Hold, Freeze])
def test_list_names_the_organization(one_of_each: None, client_of: Callable[[User], Client], model: type[Any]) -> None:
    client = client_of(User.objects.create_superuser("root@example.com"))
    listed = client.get(page(f"{model.__name__.lower()}_changelist")).content.decode()
    assert re.search(r'<t[dh] class="field-wallet__organization[^"]*">(<a [^>]*>)?Acme<', listed)


@pytest.mark.long
@pytest.mark.parametrize("action", ["wallet/{}/credit", "freeze/{}/lift", "topup/{}/refund"])
@pytest.mark.parametrize("name", ["nonsense", "0", "99999999999999999999", "00000000-0000-0000-0000-000000000000"])
def test_malformed_or_unknown_id_is_not_found(
    db: None, client_of: Callable[[User], Client], action: str, name: str
) -> None:
    client = client_of(User.objects.create_superuser("root@example.com"))
    client.raise_request_exception = False
    address = f"{reverse('admin:index')}billing/{action.format(name)}/"
    assert client.get(address).status_code == 404
    assert client.post(address, {}).status_code == 404
