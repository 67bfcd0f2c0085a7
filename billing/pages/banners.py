"""Banners: warnings about an organization's money, shown above everything else."""

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from accounts.links import page_url
from accounts.models import Organization
from billing import automatic_topups, ledger, limits, money, next_step
from billing.models import Wallet
from billing.models.payments import AutomaticTopUp

# The first mail about it is sent at the same time (`expiry`).
EXPIRY_IS_NEAR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Banner:
    """A warning and a link to what ends it. level: bad or warn. url: empty if there is no link."""

    level: str
    title: str
    text: str
    url: str = ""
    action: str = ""


def money_banners(organization: Organization) -> list[Banner]:
    """Return the banners of an organization, the most serious first."""
    wallet = Wallet.objects.of(organization).first()
    return banners_of(wallet, topup_settings=automatic_topups.settings_of(organization)) if wallet else []


def banners_of(wallet: Wallet | None, *, topup_settings: AutomaticTopUp) -> list[Banner]:
    """Return the same of what was read already."""
    if wallet is None:
        return []
    found = [_frozen(wallet), _expired(wallet), _expires(wallet), _limit(wallet), _automatic(topup_settings)]
    if not any(found):
        found.append(_low(wallet))
    return [banner for banner in found if banner is not None]


def _frozen(wallet: Wallet) -> Banner | None:
    if not wallet.is_frozen:
        return None
    if wallet.available_micros < 0:
        debt = money.display_text(-wallet.available_micros)
        if ledger.has_freeze_beside_debt(wallet):
            return Banner(
                level="bad",
                title="Your account is on hold.",
                text=f"A payment is disputed or an operator froze the balance, and you owe {debt}. "
                "Running work continues, new work is refused.",
                **_support(),
            )
        return Banner(
            level="bad",
            title="Your account is on hold.",
            text=f"A payment was returned to the payer after you spent part of it, so you owe {debt}. "
            "Running work continues, new work is refused. Top up to continue.",
            url=_top_up(wallet, missing_micros=-wallet.available_micros),
            action=next_step.top_up_text(money.cents_up(-wallet.available_micros)),
        )
    return Banner(
        level="bad",
        title="Your account is on hold.",
        text="A payment is disputed, or an operator froze the balance. Your money is safe, but you cannot spend it "
        "until this is settled.",
        **_support(),
    )


def _expired(wallet: Wallet) -> Banner | None:
    if wallet.expired_at is None:
        return None
    return Banner(
        level="bad",
        title="Your balance expired.",
        text=f"It expired on {wallet.expired_at:%-d %B %Y} after six months without activity. "
        "The ledger shows the amount. You keep your transcripts and keys.",
        url=_top_up(wallet),
        action="Top up",
    )


def _expires(wallet: Wallet) -> Banner | None:
    moment = wallet.expires_at
    if moment is None or moment - timezone.now() > EXPIRY_IS_NEAR:
        return None
    return Banner(
        level="warn",
        title=f"{money.display_text(wallet.available_micros)} expires on {moment:%-d %B %Y}.",
        text="Credit expires after six months without activity. "
        "Any top-up or finished work before this day keeps it for six more months.",
        url=_top_up(wallet),
        action="Top up",
    )


def _limit(wallet: Wallet) -> Banner | None:
    if wallet.limit_at(timezone.now()) is None:
        return None
    standing = limits.wallet_standing(wallet)
    if standing is None or standing.limit_micros is None or standing.left_micros:
        return None
    if standing.limit_micros == 0:
        # The next month does not end it.
        return Banner(
            level="warn",
            title="Spending is blocked.",
            text="The monthly limit is $0.00, so requests that cost money are refused.",
            url=page_url(wallet.organization_id, "billing:settings") + "#limit",
            action="Change limit",
        )
    return Banner(
        level="warn",
        title="The monthly limit is reached.",
        # Show both amounts: a limit may have been set below what was already spent.
        text=f"{money.display_text(standing.spent_micros)} is spent or reserved this month, and the limit is "
        f"{money.display_text(standing.limit_micros)}. It resets on {standing.resets_at:%-d %B} (UTC).",
        url=page_url(wallet.organization_id, "billing:settings") + "#limit",
        action="Change limit",
    )


def _automatic(topup_settings: AutomaticTopUp) -> Banner | None:
    if topup_settings.is_on or not topup_settings.turned_off_reason:
        return None
    return Banner(
        level="warn",
        title="Automatic top-up is off.",
        text=topup_settings.turned_off_reason,
        url=page_url(topup_settings.organization_id, "billing:settings") + "#automatic",
        action="Set up again",
    )


def _low(wallet: Wallet) -> Banner | None:
    if wallet.low_since is None or wallet.low_balance_micros is None:
        return None
    return Banner(
        level="warn",
        title=f"Less than {money.display_text(wallet.low_balance_micros)} is left.",
        text=f"{money.display_text(wallet.available_micros)} is available.",
        url=_top_up(wallet),
        action="Top up",
    )


def _support() -> dict[str, str]:
    return {"url": f"mailto:{settings.SUPPORT_EMAIL}", "action": f"Contact {settings.SUPPORT_EMAIL}"}


def _top_up(wallet: Wallet, *, missing_micros: int = 0) -> str:
    address = page_url(wallet.organization_id, "billing:top-up")
    return f"{address}?needed={money.cents_up(missing_micros)}" if missing_micros > 0 else address
