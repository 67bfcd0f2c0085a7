"""Operators' admin of billing. All rows are read-only: only `ledger` and the domain modules write them.

Each action of an operator calls a verb and requires a permission of its own: give a credit (`add_entry`), start a
refund (`add_refund`), lift a freeze (`change_freeze`), resolve an unmatched event (`change_unmatchedevent`).
"""

import uuid
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.forms import MediaDefiningClass
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from accounts import access
from accounts.errors import Conflict, VoxsiteError
from accounts.models import Organization, User
from accounts.operator_admin import ReadOnlyAdmin
from billing import ledger, money, refunds
from billing.models import Entry, EntryKind, Freeze, Hold, HoldState, Wallet
from billing.models.payments import AutomaticTopUp, Customer, TopUp, UnmatchedEvent
from billing.models.reversals import Dispute, Refund

# Decimal, because the float 0.01 is slightly more than a cent.
MIN_AMOUNT = Decimal("0.01")
MAX_CREDIT_CENTS = 1_000_000


Row = TypeVar("Row", bound=Model)

if TYPE_CHECKING:

    class _RefundInline(admin.TabularInline[Refund, TopUp]): ...

else:
    # Django's classes take type arguments only in their stubs.
    class _RefundInline(admin.TabularInline): ...


class _AbstractAdmin(ABCMeta, MediaDefiningClass):
    """Lets an admin class have abstract methods. Django's have a metaclass of their own."""


class ActionPageAdmin(ReadOnlyAdmin[Row], metaclass=_AbstractAdmin):
    """Read-only rows with one action: a page on which an operator does something about one row."""

    # The action's part of the address, the heading of its page, and the permission that it requires.
    action_slug: ClassVar[str]
    action_title: ClassVar[str]
    action_permission: ClassVar[str]
    change_form_template = "admin/billing/with_action_page.html"

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_{self.action_slug}"
        page = path(
            f"<path:object_id>/{self.action_slug}/", self.admin_site.admin_view(self.action_page_view), name=name
        )
        return [page, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        extra = {
            "action_slug": self.action_slug,
            "action_title": self.action_title,
            "may_perform_action": self.may_perform_action(request),
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **extra})

    def may_perform_action(self, request: HttpRequest) -> bool:
        return request.user.has_perm(self.action_permission) and self.has_view_permission(request)

    def action_page_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.may_perform_action(request):
            raise PermissionDenied
        # As on Django's own pages, an id that cannot exist is not found.
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        form = self.build_form(row, request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                done = self.perform_action(row, form.cleaned_data, by=access.person(request))
            except VoxsiteError as error:
                form.add_error(None, error.message)
            else:
                self.log_change(request, row, done)
                messages.success(request, done)
                return redirect(reverse(f"admin:billing_{self.opts.model_name}_change", args=[row.pk]))
        context = {
            **self.admin_site.each_context(request),
            "title": self.action_title,
            "opts": self.opts,
            "original": row,
            # Show the organization's name: with ids alone, a typing error could credit the wrong customer.
            "organization": self.organization_of(row),
            "form": form,
        }
        return render(request, "admin/billing/action_page.html", context)

    @abstractmethod
    def organization_of(self, row: Row) -> Organization: ...

    @abstractmethod
    def build_form(self, row: Row, data: QueryDict | None) -> forms.Form: ...

    @abstractmethod
    def perform_action(self, row: Row, fields: dict[str, Any], *, by: User) -> str:
        """Perform the action. Returns what was done, as a sentence for the operator and the log.

        Errors of type VoxsiteError are shown on the form.
        """


class WalletRowsAdmin(ReadOnlyAdmin[Row]):
    """Read-only rows of wallets, found by their organization."""

    organization_field = "wallet"

    def of_organizations(self, organization_ids: Sequence[uuid.UUID]) -> Q:
        wallets = Wallet.objects.filter(organization__in=organization_ids)
        return Q(wallet__in=list(wallets.values_list("pk", flat=True)))


class CreditForm(forms.Form):
    amount = forms.DecimalField(
        label="Amount in dollars",
        min_value=MIN_AMOUNT,
        max_value=Decimal(MAX_CREDIT_CENTS) / 100,
        decimal_places=2,
    )
    reason = forms.CharField(max_length=200, help_text="The customer reads it in the ledger.")
    # A form sent twice is one credit.
    token = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)


@admin.register(Wallet)
class WalletAdmin(ActionPageAdmin[Wallet]):
    list_display = ["organization", "balance_micros", "held_micros", "frozen_at", "created_at"]
    list_select_related = ["organization"]
    organization_field = "organization"
    action_slug, action_title, action_permission = "credit", "Give a credit", "billing.add_entry"

    def organization_of(self, row: Wallet) -> Organization:
        return row.organization

    def build_form(self, row: Wallet, data: QueryDict | None) -> forms.Form:
        return CreditForm(data)

    def perform_action(self, row: Wallet, fields: dict[str, Any], *, by: User) -> str:
        amount_micros = money.micros_from_dollars(f"{fields['amount']:f}")
        reason = fields["reason"]
        ledger.credit(
            row.organization,
            amount_micros=amount_micros,
            kind=EntryKind.CREDIT,
            reference=f"credit:{fields['token']}",
            description=reason,
            details={"author": by.email, "author_id": by.pk, "reason": reason},
        )
        return f"Credited {money.display_text(amount_micros)}: {reason}"


@admin.register(Entry)
class EntryAdmin(WalletRowsAdmin[Entry]):
    list_display = [
        "created_at",
        "wallet__organization",
        "kind",
        "amount_micros",
        "balance_after_micros",
        "reference",
        "description",
    ]
    list_filter = ["kind"]
    list_select_related = ["wallet__organization"]
    ordering = ["-id"]

    def matches(self, term: str) -> Q:
        # The index of references begins with the kind.
        return super().matches(term) | Q(kind__in=EntryKind.values, reference=term)


@admin.register(Hold)
class HoldAdmin(WalletRowsAdmin[Hold]):
    list_display = ["created_at", "wallet__organization", "state", "amount_micros", "reference", "closed_at"]
    list_filter = ["state"]
    list_select_related = ["wallet__organization"]
    exact_fields = ("pk", "reference")
    ordering = ["-id"]
    search_help_text = "An id or reference; the beginning of an organization's name, for its open holds"

    def of_organizations(self, organization_ids: Sequence[uuid.UUID]) -> Q:
        # Closed holds have no index by wallet, which every settlement would have to write to.
        return super().of_organizations(organization_ids) & Q(state=HoldState.OPEN)


@admin.register(Freeze)
class FreezeAdmin(WalletRowsAdmin[Freeze], ActionPageAdmin[Freeze]):
    list_display = ["wallet__organization", "reason", "created_at", "lifted_at"]
    list_filter = [("lifted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["wallet__organization"]
    exact_fields = ("pk", "reason")
    ordering = ["-id"]
    action_slug, action_title, action_permission = "lift", "Lift the freeze", "billing.change_freeze"

    def organization_of(self, row: Freeze) -> Organization:
        return row.wallet.organization

    def build_form(self, row: Freeze, data: QueryDict | None) -> forms.Form:
        return forms.Form(data)

    def perform_action(self, row: Freeze, fields: dict[str, Any], *, by: User) -> str:
        if row.reason == ledger.DEBT:
            raise Conflict("A debt ends when it is paid.")
        ledger.thaw(row.wallet.organization, reason=row.reason)
        return f"Lifted the freeze for {row.reason}"


class OperatorRefundForm(forms.Form):
    amount = forms.DecimalField(
        label="Amount in dollars",
        min_value=MIN_AMOUNT,
        decimal_places=2,
        help_text="Goes back to the payment method that was used; the bonus's share leaves the balance with it.",
    )
    reason = forms.CharField(max_length=200, help_text="For the log.")
    # A form sent twice is one refund.
    token = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)


class RefundInline(_RefundInline):
    model = Refund
    readonly_fields = ("amount_cents", "state", "stripe_id", "person", "failure", "created_at", "ended_at")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: TopUp | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: TopUp | None = None) -> bool:
        return False


@admin.register(TopUp)
class TopUpAdmin(ActionPageAdmin[TopUp]):
    list_display = ["created_at", "organization", "state", "amount_cents", "bonus_cents", "is_automatic", "failure"]
    list_filter = ["state", "is_automatic", "created_at"]
    list_select_related = ["organization"]
    exact_fields = ("pk", "checkout_session_id", "payment_intent_id")
    organization_field, person_field = "organization", "person"
    search_help_text = "An id of Stripe or ours, or the beginning of an organization's name or of the payer's address"
    ordering = ["-created_at"]
    inlines = [RefundInline]
    action_slug, action_title, action_permission = "refund", "Start a refund", "billing.add_refund"

    def matches(self, term: str) -> Q:
        refunded = Refund.objects.filter(stripe_id=term).values_list("topup", flat=True)
        disputed = Dispute.objects.filter(stripe_id=term).values_list("topup", flat=True)
        return super().matches(term) | Q(pk__in=[*refunded, *disputed])

    def organization_of(self, row: TopUp) -> Organization:
        return row.organization

    def build_form(self, row: TopUp, data: QueryDict | None) -> forms.Form:
        left_cents = refunds.left_cents(row)
        return OperatorRefundForm(data, initial={"amount": f"{left_cents / 100:.2f}"})

    def perform_action(self, row: TopUp, fields: dict[str, Any], *, by: User) -> str:
        amount = fields["amount"]
        refund = refunds.start(row, person=by, amount_cents=int(amount * 100), token=fields["token"])
        return f"Refund of ${amount} is {refund.get_state_display().lower()}: {fields['reason']}"


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin[Refund]):
    list_display = ["created_at", "topup", "state", "amount_cents", "clawed_micros", "stripe_id", "person", "failure"]
    list_filter = ["state"]
    exact_fields = ("pk", "stripe_id", "topup")
    organization_field = "topup__organization"
    ordering = ["-created_at"]


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin[Dispute]):
    list_display = ["created_at", "topup", "status", "amount_cents", "clawed_micros", "withdrawn_at", "reinstated_at"]
    list_filter = ["status"]
    exact_fields = ("pk", "stripe_id", "topup")
    organization_field = "topup__organization"
    ordering = ["-created_at"]


@admin.register(UnmatchedEvent)
class UnmatchedEventAdmin(ReadOnlyAdmin[UnmatchedEvent]):
    list_display = [
        "created_at",
        "subject",
        "stripe_id",
        "reason",
        "explanation",
        "topup",
        "resolved_at",
        "resolved_by",
    ]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter), "reason", "subject"]
    exact_fields = ("pk", "stripe_id", "topup")
    organization_field = "topup__organization"
    ordering = ["-created_at"]
    actions = ["resolve"]

    def has_resolve_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.change_unmatchedevent")

    @admin.action(description="Mark as resolved", permissions=["resolve"])
    def resolve(self, request: HttpRequest, rows: QuerySet[UnmatchedEvent]) -> None:
        count = rows.filter(resolved_at=None).update(resolved_at=timezone.now(), resolved_by=request.user)
        messages.success(request, f"{count} resolved.")


@admin.register(AutomaticTopUp)
class AutomaticTopUpAdmin(ReadOnlyAdmin[AutomaticTopUp]):
    list_display = ["organization", "is_on", "threshold_cents", "amount_cents", "monthly_cap_cents", "declines_count"]
    list_filter = ["is_on"]
    list_select_related = ["organization"]
    organization_field = "organization"


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin[Customer]):
    list_display = ["organization", "stripe_id"]
    list_select_related = ["organization"]
    exact_fields = ("pk", "stripe_id")
    organization_field = "organization"
