"""Forms of the pages of accounts. The verbs check the rules."""

import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Protocol, Self
from zoneinfo import ZoneInfo

from allauth.account import forms as allauth_forms
from allauth.account.models import EmailAddress
from allauth.mfa import app_settings as mfa_settings
from allauth.mfa.base import forms as mfa_forms
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.totp.internal.auth import TOTP
from django import forms
from django.contrib.auth.hashers import make_password
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts import api_keys
from accounts.models import DEFAULT_SCOPES, ApiKey, Invitation, Organization, ReadyMail, Role, Scope, User
from accounts.organizations import MAX_NAME_LENGTH

MICROS_PER_DOLLAR = 1_000_000
# What a scope lets a program do, as the page of keys says it.
SCOPE_TEXTS = {
    Scope.TRANSCRIBE: "send recordings, see, cancel and delete their jobs",
    Scope.CHAT: "ask language models",
    Scope.READ: "list and read all transcripts",
    Scope.BILLING: "see balance and usage, add funds with the saved card",
    Scope.ADMIN: "manage keys, limits and alerts",
}


def free_address(email: str) -> None:
    """Delete an address where it is an unverified second address of an account. Call it at a sign-up.

    The attack: add a stranger's address as a second address of one's own account, so that the stranger can never
    sign up. The other account loses nothing: it can add the address again.
    """
    EmailAddress.objects.filter(email=email, verified=False).exclude(user__email__iexact=email).delete()


class SignupForm(allauth_forms.SignupForm):
    """allauth's sign-up form. It accepts an address that is only an unverified second address of another account."""

    def validate_unique_email(self, value: str) -> str:
        """Return the address, which is freed first."""
        free_address(value)
        return str(super().validate_unique_email(value))

    def try_save(self, request: HttpRequest) -> tuple[User | None, HttpResponse | None]:
        """Create the account, or mail its owner that there is one already. Both hash a password once.

        The hash takes most of the time of a sign-up. Without it, the time of the answer would tell a stranger whether
        an address has an account, which the answer itself does not.
        """
        if self.account_already_exists:
            make_password(self.cleaned_data["password1"])
        user, response = super().try_save(request)
        return user, response


def _use_up(code: str, *, user: User) -> None:
    """Let a code of an authenticator app serve once.

    allauth 65.21 marks a code for 30 s (TOTP.validate_code), and not at all when the app is added. With the tolerance
    for clocks a code is valid for 90 s. The attack: look over a shoulder, and sign in with what was typed.
    """
    totp = TOTP(Authenticator(user=user))
    seconds = mfa_settings.TOTP_PERIOD * (2 * mfa_settings.TOTP_TOLERANCE + 1)
    cache.set(totp._get_used_cache_key(code), "y", timeout=seconds)


class ActivateTotpForm(ActivateTOTPForm):
    """allauth's form that adds an authenticator app. The code in it cannot be used to sign in."""

    def clean_code(self) -> str:
        code = str(super().clean_code())
        _use_up(code, user=self.user)
        return code


class AuthenticateForm(mfa_forms.AuthenticateForm):
    """allauth's form for the second factor at sign-in. No code serves twice."""

    def clean_code(self) -> str:
        code = str(super().clean_code())
        _use_up(code, user=self.user)
        return code


class ReauthenticateForm(mfa_forms.ReauthenticateForm):
    """allauth's form for the second factor before a change of the account. No code serves twice."""

    def clean_code(self) -> str:
        code = str(super().clean_code())
        _use_up(code, user=self.user)
        return code


class LastDayField(forms.DateField):
    """The last day (UTC) of something that has not ended. It may be empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, widget=forms.DateInput(attrs={"type": "date"}), **kwargs)

    def clean(self, value: Any) -> date | None:
        day: date | None = super().clean(value)
        if day is not None and day < timezone.now().date():
            raise forms.ValidationError("Choose today or a later day.")
        if day == date.max:
            # The calendar ends with it: there is no moment after it.
            raise forms.ValidationError("Choose an earlier day.")
        return day


def limit_field() -> forms.DecimalField:
    """Return the field of a key's monthly limit: empty for no limit, 0 to block all spending."""
    return forms.DecimalField(
        label="Monthly limit in dollars",
        required=False,
        min_value=Decimal(0),
        max_value=Decimal("1000000"),
        decimal_places=2,
        help_text="What this key can spend in a calendar month (UTC). Leave empty for no limit. 0 blocks all spending.",
        widget=forms.NumberInput(attrs={"inputmode": "decimal", "placeholder": "No limit"}),
    )


class KeyForm(forms.Form):
    """A new API key."""

    name = forms.CharField(
        max_length=80,
        help_text="Where you will use it, such as “production” or “nightly import”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    expires_on = LastDayField(
        label="Expires on",
        help_text="The key works until the end of this day (UTC). Leave empty for no expiry.",
    )
    monthly_limit = limit_field()
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, f"{scope.label}: {SCOPE_TEXTS[scope]}") for scope in Scope],
        initial=[scope.value for scope in DEFAULT_SCOPES],
        widget=forms.CheckboxSelectMultiple,
        help_text="Choose only what the program needs. A request that needs another scope gets 403.",
        error_messages={"required": "Choose one or more scopes."},
    )

    @property
    def expires_at(self) -> datetime | None:
        """The moment at which the key expires: the end of its last day (UTC)."""
        last_day = self.cleaned_data["expires_on"]
        return end_of_day(last_day) if last_day else None

    @property
    def monthly_limit_micros(self) -> int | None:
        return _micros_of(self.cleaned_data["monthly_limit"])


class RaisedLimit(Protocol):
    """A row with a monthly limit that may be raised: a key, or the wallet of an organization."""

    raised_limit_micros: int | None
    raised_until: datetime | None

    def is_raised(self, *, now: datetime) -> bool: ...


class RaiseFields(forms.Form):
    """Beside a monthly limit: a higher one that ends by itself. Both fields, or none for no raise."""

    raised_limit = forms.DecimalField(
        label="Temporary limit in dollars",
        required=False,
        min_value=Decimal(0),
        max_value=Decimal("1000000"),
        decimal_places=2,
        help_text="Replaces the monthly limit for a time. Leave empty for none.",
        widget=forms.NumberInput(attrs={"inputmode": "decimal", "step": "0.01", "placeholder": "None"}),
    )
    raised_on = LastDayField(label="Until", help_text="Ends automatically at the end of this day (UTC).")

    def clean(self) -> dict[str, Any]:
        super().clean()
        cleaned: dict[str, Any] = self.cleaned_data
        if not self.errors and (cleaned["raised_limit"] is None) != (cleaned["raised_on"] is None):
            missing = "raised_limit" if cleaned["raised_limit"] is None else "raised_on"
            self.add_error(missing, "A temporary limit needs an amount and its last day.")
        return cleaned

    @property
    def temporary(self) -> tuple[int, datetime] | None:
        """The raised limit of a valid form in micro-dollars, and the moment at which it ends; None for no raise."""
        micros, last_day = _micros_of(self.cleaned_data["raised_limit"]), self.cleaned_data["raised_on"]
        return None if micros is None or last_day is None else (micros, end_of_day(last_day))


class KeyLimitForm(RaiseFields):
    """A new limit for an existing key."""

    monthly_limit = limit_field()
    field_order = ("monthly_limit", "raised_limit", "raised_on")

    @classmethod
    def of(cls, row: ApiKey) -> Self:
        """Return the form with what counts for a key now."""
        return cls(initial={"monthly_limit": dollars_of(row.monthly_limit_micros), **raise_of(row)})

    @property
    def monthly_limit_micros(self) -> int | None:
        return _micros_of(self.cleaned_data["monthly_limit"])


class RotateKeyForm(forms.Form):
    """How long the old secret of a key works beside the new one."""

    ONE_DAY = "86400"

    overlap = forms.TypedChoiceField(
        label="Current secret",
        choices=[
            ("0", "stops working now"),
            ("3600", "works for 1 more hour"),
            (ONE_DAY, "works for 1 more day"),
            (str(api_keys.MAX_OVERLAP // timedelta(seconds=1)), f"works for {api_keys.MAX_OVERLAP.days} more days"),
        ],
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        help_text="During this time it cannot manage keys. Tokens created with the key end with it.",
        error_messages={"required": "Choose how long it works.", "invalid_choice": "Choose how long it works."},
    )


class InviteForm(forms.Form):
    """The address and role of a person to invite."""

    email = forms.EmailField(
        label="Email address",
        max_length=Invitation._meta.get_field("email").max_length,
        widget=forms.EmailInput(attrs={"autocomplete": "off", "placeholder": "name@example.com"}),
    )

    def __init__(self, *args: Any, highest: Role, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        roles = [(role.value, role.label) for role in roles_up_to(highest)]
        self.fields["role"] = forms.ChoiceField(choices=roles, initial=Role.MEMBER)


class RoleForm(forms.Form):
    """A new role for a member."""

    role = forms.ChoiceField(choices=Role.choices)


class DeleteOrganizationForm(forms.Form):
    """The name of an organization, typed by an owner who means to delete it."""

    name = forms.CharField(
        label="Type the name of the organization to confirm",
        max_length=MAX_NAME_LENGTH,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, organization: Organization, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._expected = organization.name

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        # Blanks are no typing mistake: a page shows several as one.
        if " ".join(name.split()) != " ".join(self._expected.split()):
            raise forms.ValidationError(f"This is not the name. Type: {self._expected}")
        return name


class OrganizationForm(forms.Form):
    """A new organization."""

    name = forms.CharField(
        max_length=MAX_NAME_LENGTH,
        help_text="Your company or project. It gets its own balance, API keys and transcripts.",
    )


def roles_up_to(highest: Role) -> list[Role]:
    """Return the roles that a member with this role may give, lowest first."""
    return sorted((role for role in Role if role.rank <= highest.rank), key=lambda role: role.rank)


def end_of_day(day: date) -> datetime:
    """Return the moment at which a day ends, in UTC."""
    return datetime.combine(day + timedelta(days=1), time.min, tzinfo=ZoneInfo("UTC"))


def raise_of(row: RaisedLimit) -> dict[str, Any]:
    """Return the initial values of RaiseFields for a raise that lasts; empty without one."""
    if row.raised_until is None or not row.is_raised(now=timezone.now()):
        return {}
    # The day that ends at that moment, or in which it lies: programs name a moment, and this form a day.
    last_day = (row.raised_until - timedelta.resolution).astimezone(ZoneInfo("UTC")).date()
    return {"raised_limit": dollars_of(row.raised_limit_micros), "raised_on": last_day}


def dollars_of(micros: int | None) -> str:
    """Return a limit as the form field shows it: "25.00", or empty for no limit."""
    return "" if micros is None else f"{Decimal(micros) / MICROS_PER_DOLLAR:.2f}"


def _micros_of(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int(dollars * MICROS_PER_DOLLAR)


class MailsForm(forms.Form):
    """Which mails a person gets, about transcripts and about the money of organizations that they own."""

    ready_mail = forms.ChoiceField(label="A transcript is ready", choices=ReadyMail.choices, widget=forms.RadioSelect)
    has_failed_mail = forms.BooleanField(label="A recording could not be transcribed", required=False)
    has_paid_mail = forms.BooleanField(label="A payment was received", required=False)
    has_refunded_mail = forms.BooleanField(label="A payment was refunded", required=False)
    has_disputed_mail = forms.BooleanField(
        label="A payment is disputed, and when the dispute is settled",
        help_text="A dispute puts the balance on hold, and new work is refused.",
        required=False,
    )


class ActivityFilterForm(forms.Form):
    """The filter of the page of activity."""

    q = forms.CharField(
        label="Search",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "Person, key, what was done"}),
    )
    # The id of the last row of the page before.
    before = forms.IntegerField(min_value=1, max_value=2**63 - 1, required=False, widget=forms.HiddenInput)


class RequestFilterForm(forms.Form):
    """The filter of the page of API requests."""

    OUTCOMES = (("", "All"), ("ok", "Succeeded"), ("error", "Failed"))

    q = forms.CharField(
        label="Search",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "ID, path, status, error"}),
    )
    key = forms.ChoiceField(label="Key", required=False)
    outcome = forms.ChoiceField(label="Result", required=False, choices=OUTCOMES)
    # The id of the last request of the page before.
    before = forms.IntegerField(min_value=1, max_value=2**63 - 1, required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, organization: Organization, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Keys of this organization only. Another organization's key is an invalid choice, as an unknown key is.
        keys = ApiKey.objects.of(organization).order_by("name", "created_at")
        field = self.fields["key"]
        assert isinstance(field, forms.ChoiceField), "declared above"
        field.choices = [("", "All keys"), *((str(key.pk), f"{key.name} ({key.prefix}…)") for key in keys)]

    @property
    def text(self) -> str:
        return str(self.cleaned_data["q"])

    @property
    def key_id(self) -> uuid.UUID | None:
        return uuid.UUID(self.cleaned_data["key"]) if self.cleaned_data["key"] else None

    @property
    def is_error(self) -> bool | None:
        return {"ok": False, "error": True}.get(self.cleaned_data["outcome"])

    @property
    def query(self) -> dict[str, str]:
        """What of the filter is set, for the addresses of further pages."""
        return {name: self.cleaned_data[name] for name in ("q", "key", "outcome") if self.cleaned_data[name]}
