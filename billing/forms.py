"""Forms of billing's pages. They check the form of the input; the domain modules check its meaning and limits."""

import re
import uuid
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar, Self

from django import forms
from django.core.cache import cache

from accounts.forms import RaiseFields, raise_of
from accounts.models import ApiKey, Organization
from billing import ledger_reader, money, pricing, spend_alerts, tariff
from billing.models import EntryKind, Wallet
from billing.models.charge_tags import MAX_NAME_LENGTH, MAX_VALUE_LENGTH
from billing.usage import MAX_DAY, MIN_DAY

BROWSER = "browser"
CUSTOM = "custom"
MODELS_SECONDS = 60
MS_PER_HOUR = 3_600_000


class DayField(forms.DateField):
    """A day in the format of a browser's date picker, YYYY-MM-DD."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            required=False, input_formats=["%Y-%m-%d"], widget=forms.DateInput(attrs={"type": "date"}), **kwargs
        )

    def clean(self, value: Any) -> date | None:
        day: date | None = super().clean(value)
        if day is not None and not MIN_DAY <= day <= MAX_DAY:
            raise forms.ValidationError(f"Choose a day from {MIN_DAY} to {MAX_DAY}.")
        return day


class DollarField(forms.DecimalField):
    """An amount in dollars and whole cents."""

    def __init__(self, **kwargs: Any) -> None:
        attributes = {"inputmode": "decimal", "step": "0.01", "autocomplete": "off", **kwargs.pop("attrs", {})}
        super().__init__(
            decimal_places=2,
            max_digits=9,
            widget=forms.NumberInput(attrs=attributes),
            **{"min_value": Decimal("0.01"), "max_value": Decimal(1_000_000), **kwargs},
        )

    def to_python(self, value: Any) -> Any:
        # Python's Decimal reads "5_00" as 500. It is more likely a mistyped "5.00".
        if isinstance(value, str) and "_" in value:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)


def cents_of(dollars: Decimal) -> int:
    """Return a DollarField's value in cents."""
    return int(dollars * 100)


def micros_of(dollars: Decimal) -> int:
    """Return a DollarField's value in micro-dollars."""
    return cents_of(dollars) * money.MICROS_PER_CENT


def dollars_of(micros: int | None) -> Decimal | None:
    """Return the initial value of a DollarField for an amount in micro-dollars; None for None."""
    return None if micros is None else Decimal(money.dollars_text(micros))


def _models(organization: Organization) -> list[str]:
    """Return the names of models to choose from. One that was never charged for before may be missing for a minute."""
    name = f"billing:models:{organization.pk}"
    found: list[str] | None = cache.get(name)
    if found is None:
        found = ledger_reader.models(organization)
        cache.set(name, found, timeout=MODELS_SECONDS)
    return found


def _set_choices(form: forms.Form, name: str, choices: list[tuple[str, str]]) -> None:
    field = form.fields[name]
    assert isinstance(field, forms.ChoiceField), "the form's class declares it"
    field.choices = choices


class CursorForm(forms.Form):
    """The cursor of a page of the ledger: the id of the last entry of the previous page."""

    before = forms.IntegerField(min_value=1, max_value=2**63 - 1, required=False)


class PaymentCursorForm(forms.Form):
    """The cursor of a page of payments: the id of the last top-up of the previous page."""

    before = forms.UUIDField(required=False)


class LedgerForm(forms.Form):
    """The filter of the ledger page."""

    kind = forms.ChoiceField(label="Kind", required=False)
    since = DayField(label="From day")
    until = DayField(label="To day")
    key = forms.ChoiceField(label="Key", required=False)
    model = forms.ChoiceField(label="Model", required=False)
    tag = forms.CharField(label="Tag", required=False, max_length=MAX_NAME_LENGTH, strip=False)
    # Empty: any value. No tag has an empty one.
    tag_value = forms.CharField(label="Tag value", required=False, max_length=MAX_VALUE_LENGTH, strip=False)

    def __init__(self, *args: Any, organization: Organization, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Keys of this organization only. Another organization's key is an invalid choice, as an unknown key is.
        keys = ApiKey.objects.of(organization).order_by("name", "created_at")
        models = _models(organization)
        _set_choices(self, "kind", [("", "All kinds"), *EntryKind.choices])
        _set_choices(
            self,
            "key",
            [
                ("", "All keys"),
                (BROWSER, "None (browser)"),
                *((str(key.pk), f"{key.name} ({key.prefix}…)") for key in keys),
            ],
        )
        _set_choices(self, "model", [("", "All models"), *((model, model) for model in models)])

    def clean(self) -> dict[str, Any]:
        super().clean()
        cleaned: dict[str, Any] = self.cleaned_data
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and since > until:
            self.add_error("until", "The last day must not be before the first day.")
        if cleaned.get("tag_value") and not cleaned.get("tag") and "tag" not in self.errors:
            self.add_error("tag", "Enter the tag that has this value.")
        return cleaned

    @property
    def filter(self) -> ledger_reader.Filter:
        chosen = self.cleaned_data
        return ledger_reader.Filter(
            kind=EntryKind(chosen["kind"]) if chosen["kind"] else None,
            since=chosen["since"],
            until=chosen["until"],
            api_key_id=uuid.UUID(chosen["key"]) if chosen["key"] and chosen["key"] != BROWSER else None,
            is_without_key=chosen["key"] == BROWSER,
            model=chosen["model"],
            tag=chosen["tag"],
            tag_value=chosen["tag_value"] or None,
        )

    @property
    def query(self) -> dict[str, str]:
        """The query parameters that select the same entries."""
        return {name: str(value) for name, value in self.cleaned_data.items() if value}


class MonthForm(forms.Form):
    """A month, in the format 2026-11."""

    month = forms.CharField(required=False)

    def clean_month(self) -> date | None:
        text = self.cleaned_data["month"]
        if not text:
            return None
        try:
            month = datetime.strptime(text, "%Y-%m").date()  # noqa: DTZ007 - a day has no zone
        except ValueError:
            raise forms.ValidationError("Enter the month as 2026-11.") from None
        if not MIN_DAY <= month <= MAX_DAY:
            raise forms.ValidationError("Choose a month closer to today.")
        return month


class NeededForm(forms.Form):
    """The amount that was missing on the page that linked here, in cents."""

    needed = forms.IntegerField(min_value=1, max_value=pricing.MAX_TOPUP_CENTS)


class TopUpForm(forms.Form):
    """The amount of a top-up, and whether Stripe stores the card."""

    amount = forms.ChoiceField(
        widget=forms.RadioSelect,
        error_messages={"required": "Choose an amount.", "invalid_choice": "Choose one of the amounts."},
    )
    custom = DollarField(
        label="Amount in dollars",
        required=False,
        min_value=Decimal(pricing.MIN_TOPUP_CENTS) / 100,
        max_value=Decimal(pricing.MAX_TOPUP_CENTS) / 100,
        attrs={"step": "any", "placeholder": "75.00"},
    )
    save_card = forms.BooleanField(label="Save card for later top-ups", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        products = [(str(cents), str(cents)) for cents in pricing.PRODUCTS_CENTS]
        _set_choices(self, "amount", [*products, (CUSTOM, "Another amount")])

    def clean(self) -> dict[str, Any]:
        super().clean()
        cleaned: dict[str, Any] = self.cleaned_data
        amount, custom = cleaned.get("amount"), cleaned.get("custom")
        if amount == CUSTOM and custom is None and "custom" not in self.errors:
            self.add_error("custom", "Enter the amount that you want to pay.")
        if amount and amount != CUSTOM and custom is not None:
            # The two contradict each other. Ask, rather than charge the wrong amount.
            self.add_error("custom", "You selected an amount above. Select “Another amount” for this one, or clear it.")
        return cleaned

    @property
    def amount_cents(self) -> int:
        amount = self.cleaned_data["amount"]
        return cents_of(self.cleaned_data["custom"]) if amount == CUSTOM else int(amount)


class RefundForm(forms.Form):
    """The confirmation of a refund, with the amount that the page showed."""

    amount_cents = forms.IntegerField(min_value=1, max_value=pricing.MAX_TOPUP_CENTS)
    # Generated with the page, so that a form sent twice is one refund.
    token = forms.UUIDField()


BY_AMOUNT, TO_TARGET = "by", "to"


class AutomaticForm(forms.Form):
    """Settings of automatic top-up: threshold, an amount or a target, and monthly cap."""

    threshold = DollarField(label="When the balance falls below", help_text="In dollars.", min_value=Decimal(1))
    mode = forms.ChoiceField(
        label="Top up",
        choices=[(BY_AMOUNT, "by the same amount each time"), (TO_TARGET, "to a target balance")],
    )
    amount = DollarField(
        label="Amount or target",
        help_text="Same amount: charged each time, with the same bonus as other top-ups. Target: we charge what is "
        "missing, and less when the bonus covers a part of it. A target must be at least "
        f"${pricing.MIN_TOPUP_CENTS // 100} above the balance that starts a top-up.",
        min_value=Decimal(pricing.MIN_TOPUP_CENTS) / 100,
        max_value=Decimal(pricing.MAX_TOPUP_CENTS) / 100,
    )
    monthly_cap = DollarField(
        label="Monthly cap",
        help_text="Maximum for automatic top-ups in a calendar month (UTC). When the cap leaves less than the target "
        f"needs, we charge the rest of the cap, if it is ${pricing.MIN_TOPUP_CENTS // 100} or more.",
        min_value=Decimal(pricing.MIN_TOPUP_CENTS) / 100,
    )

    @property
    def is_to_target(self) -> bool:
        """Whether a valid form asks for a target."""
        return bool(self.cleaned_data["mode"] == TO_TARGET)

    def clean(self) -> dict[str, Any]:
        super().clean()
        cleaned: dict[str, Any] = self.cleaned_data
        amount, cap = cleaned.get("amount"), cleaned.get("monthly_cap")
        if cleaned.get("mode") != TO_TARGET and amount is not None and cap is not None and cap < amount:
            self.add_error("monthly_cap", "The cap must be at least the amount of one top-up.")
        return cleaned


class OptionalAmountForm(forms.Form):
    """One amount that may be empty, which means no bound."""

    # Name of the amount's field.
    amount: ClassVar[str]

    @classmethod
    def showing(cls, micros: int | None) -> Self:
        """Return the form with the present value, in micro-dollars; None for no bound."""
        return cls(initial={cls.amount: dollars_of(micros)})

    @property
    def micros(self) -> int | None:
        """The value of a valid form, in micro-dollars; None for no bound."""
        dollars = self.cleaned_data[self.amount]
        return None if dollars is None else micros_of(dollars)


class LowBalanceForm(OptionalAmountForm):
    """The balance below which owners get a mail."""

    amount = "threshold"
    threshold = DollarField(
        label="Low-balance alert",
        required=False,
        help_text="Owners get an email when the balance falls below this amount in dollars. Leave empty for no alert.",
        attrs={"placeholder": "No alert"},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # AutomaticForm on the same page also has a field `threshold`: with equal ids both labels would select one
        # field.
        super().__init__(*args, **{"auto_id": "id_low_%s", **kwargs})


class LimitForm(RaiseFields, OptionalAmountForm):
    """The monthly limit of an organization."""

    amount = "monthly_limit"
    field_order = ("monthly_limit", "raised_limit", "raised_on")
    monthly_limit = DollarField(
        label="Monthly spending limit",
        required=False,
        min_value=Decimal(0),
        help_text="In dollars for each calendar month (UTC), including running work. Leave empty for no limit. "
        "0 blocks all spending.",
        attrs={"placeholder": "No limit"},
    )

    @classmethod
    def of(cls, wallet: Wallet) -> Self:
        """Return the form with what counts for an organization now."""
        return cls(initial={"monthly_limit": dollars_of(wallet.monthly_limit_micros), **raise_of(wallet)})


class AlertsForm(forms.Form):
    """The parts of a monthly limit at which owners get a mail, in percent."""

    percents = forms.CharField(
        label="Email owners at",
        required=False,
        max_length=100,
        help_text="Percent of the monthly limit that is spent, such as 50, 80, 100. Each alert is sent once a month. "
        "Leave empty for no alerts.",
        widget=forms.TextInput(attrs={"inputmode": "text", "autocomplete": "off", "placeholder": "No alerts"}),
    )

    @classmethod
    def showing(cls, percents: Iterable[int]) -> Self:
        """Return the form with the present alerts."""
        return cls(initial={"percents": ", ".join(map(str, percents))})

    def clean_percents(self) -> list[int]:
        words = self.cleaned_data["percents"].replace("%", " ").replace(",", " ").split()
        # Digits of ASCII, few of them: int() reads others too, and raises an error for thousands.
        percents = sorted({int(word) for word in words if re.fullmatch("[0-9]{1,3}", word) and 1 <= int(word) <= 100})
        if len(percents) < len(set(words)) or len(percents) > spend_alerts.MAX_ALERTS:
            raise forms.ValidationError(
                f"Enter up to {spend_alerts.MAX_ALERTS} whole numbers from 1 to 100, separated by commas."
            )
        return percents


class CalculatorForm(forms.Form):
    """How much audio a visitor wants transcribed, and by which model."""

    hours = forms.DecimalField(
        label="Hours of audio",
        min_value=Decimal("0.01"),
        max_value=Decimal(100_000),
        decimal_places=2,
        widget=forms.NumberInput(attrs={"inputmode": "decimal", "step": "0.01", "autocomplete": "off"}),
    )
    model = forms.ChoiceField(label="Model")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(model, model.capitalize()) for model in tariff.models()]
        self.fields["model"] = forms.ChoiceField(label="Model", choices=choices)

    def price_micros(self) -> int:
        """Return the price of a valid form, of one recording of this length."""
        ms = int(self.cleaned_data["hours"] * MS_PER_HOUR)
        return tariff.price_of(self.cleaned_data["model"], ms)
