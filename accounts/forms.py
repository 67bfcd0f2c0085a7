"""What people may type on the pages of accounts. Meaning and limits are checked by the verbs."""

from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from allauth.account import forms as allauth_forms
from allauth.account.models import EmailAddress
from django import forms
from django.utils import timezone

from accounts.models import Invitation, Organization, Role

MICROS_PER_DOLLAR = 1_000_000


class SignupForm(allauth_forms.SignupForm):
    """allauth's, in which an address that somebody merely claims is free."""

    def validate_unique_email(self, value: str) -> str:
        """Return the address. Drops claims: unproved addresses that accounts of other addresses have added.

        The attack: add a stranger's address beside one's own, and its owner can never sign up. Whoever signs up has
        proved no more, but then takes nothing from a claimant that adding it again does not give back.
        """
        EmailAddress.objects.filter(email=value, verified=False).exclude(user__email__iexact=value).delete()
        return str(super().validate_unique_email(value))


def limit_field() -> forms.DecimalField:
    """Return the field of a key's monthly limit; empty is none, 0 is nothing."""
    return forms.DecimalField(
        label="Monthly limit in dollars",
        required=False,
        min_value=Decimal(0),
        max_value=Decimal("1000000"),
        decimal_places=2,
        help_text="The most that this key may spend in a calendar month (UTC). Empty: no limit of its own. "
        "0: it may spend nothing.",
        widget=forms.NumberInput(attrs={"inputmode": "decimal", "placeholder": "No limit"}),
    )


class KeyForm(forms.Form):
    """A new API key."""

    name = forms.CharField(
        max_length=80,
        help_text="Where it will be used, such as “production” or “nightly import”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    expires_on = forms.DateField(
        label="Last day",
        required=False,
        help_text="The key stops working at the end of this day (UTC).",
        widget=forms.DateInput(attrs={"type": "date"}),
    )
    monthly_limit = limit_field()

    def clean_expires_on(self) -> Any:
        last_day = self.cleaned_data["expires_on"]
        if last_day is not None and last_day < timezone.now().date():
            raise forms.ValidationError("Choose today or a later day.")
        return last_day

    @property
    def expires_at(self) -> datetime | None:
        """The first moment after the last day."""
        last_day = self.cleaned_data["expires_on"]
        return datetime.combine(last_day + timedelta(days=1), time.min, tzinfo=ZoneInfo("UTC")) if last_day else None

    @property
    def monthly_limit_micros(self) -> int | None:
        return _micros_of(self.cleaned_data["monthly_limit"])


class KeyLimitForm(forms.Form):
    """Another limit for a key that there is."""

    monthly_limit = limit_field()

    @property
    def monthly_limit_micros(self) -> int | None:
        return _micros_of(self.cleaned_data["monthly_limit"])


class InviteForm(forms.Form):
    """A person to invite, and as what."""

    email = forms.EmailField(
        label="E-mail address",
        max_length=Invitation._meta.get_field("email").max_length,
        widget=forms.EmailInput(attrs={"autocomplete": "off", "placeholder": "name@example.com"}),
    )
    role = forms.ChoiceField(choices=Role.choices, initial=Role.MEMBER)

    def __init__(self, *args: Any, highest: Role, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = [(role.value, role.label) for role in roles_up_to(highest)]


class RoleForm(forms.Form):
    """Another role for a member."""

    role = forms.ChoiceField(choices=Role.choices)


class OrganizationForm(forms.ModelForm):
    """A new organization."""

    class Meta:
        model = Organization
        fields = ["name"]
        help_texts = {"name": "Your company or project. It has its own balance, keys and transcripts."}


class SwitchForm(forms.Form):
    """The organization to work in from now on."""

    organization = forms.UUIDField()


def roles_up_to(highest: Role) -> list[Role]:
    """Return the roles that somebody with this role may give, lowest first."""
    return sorted((role for role in Role if role.rank <= highest.rank), key=lambda role: role.rank)


def dollars_of(micros: int | None) -> str:
    """Return what the field of a limit shows: "25.00", or nothing for no limit."""
    return "" if micros is None else f"{Decimal(micros) / MICROS_PER_DOLLAR:.2f}"


def _micros_of(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int(dollars * MICROS_PER_DOLLAR)
