"""Forms of the pages of accounts. The verbs check the rules."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
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

from accounts.models import DEFAULT_SCOPES, Invitation, Role, Scope, User
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


class SignupForm(allauth_forms.SignupForm):
    """allauth's sign-up form. It accepts an address that is only an unverified second address of another account."""

    def validate_unique_email(self, value: str) -> str:
        """Return the address. First delete it where it is an unverified second address of another account.

        The attack: add a stranger's address as a second address of one's own account, so that the stranger can never
        sign up. The other account loses nothing: it can add the address again.
        """
        EmailAddress.objects.filter(email=value, verified=False).exclude(user__email__iexact=value).delete()
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
    expires_on = forms.DateField(
        label="Expires on",
        required=False,
        help_text="The key works until the end of this day (UTC). Leave empty for no expiry.",
        widget=forms.DateInput(attrs={"type": "date"}),
    )
    monthly_limit = limit_field()
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, f"{scope.label}: {SCOPE_TEXTS[scope]}") for scope in Scope],
        initial=[scope.value for scope in DEFAULT_SCOPES],
        widget=forms.CheckboxSelectMultiple,
        help_text="Choose only what the program needs. A request that needs another scope gets 403.",
        error_messages={"required": "Choose one or more scopes."},
    )

    def clean_expires_on(self) -> date | None:
        last_day: date | None = self.cleaned_data["expires_on"]
        if last_day is not None and last_day < timezone.now().date():
            raise forms.ValidationError("Choose today or a later day.")
        return last_day

    @property
    def expires_at(self) -> datetime | None:
        """The moment at which the key expires: the end of its last day (UTC)."""
        last_day = self.cleaned_data["expires_on"]
        return datetime.combine(last_day + timedelta(days=1), time.min, tzinfo=ZoneInfo("UTC")) if last_day else None

    @property
    def monthly_limit_micros(self) -> int | None:
        return _micros_of(self.cleaned_data["monthly_limit"])


class KeyLimitForm(forms.Form):
    """A new limit for an existing key."""

    monthly_limit = limit_field()

    @property
    def monthly_limit_micros(self) -> int | None:
        return _micros_of(self.cleaned_data["monthly_limit"])


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


class OrganizationForm(forms.Form):
    """A new organization."""

    name = forms.CharField(
        max_length=MAX_NAME_LENGTH,
        help_text="Your company or project. It gets its own balance, API keys and transcripts.",
    )


def roles_up_to(highest: Role) -> list[Role]:
    """Return the roles that a member with this role may give, lowest first."""
    return sorted((role for role in Role if role.rank <= highest.rank), key=lambda role: role.rank)


def dollars_of(micros: int | None) -> str:
    """Return a limit as the form field shows it: "25.00", or empty for no limit."""
    return "" if micros is None else f"{Decimal(micros) / MICROS_PER_DOLLAR:.2f}"


def _micros_of(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int(dollars * MICROS_PER_DOLLAR)
