"""What workers do at once to one wallet, for test_contention. Each process loads this module, so it needs no pytest."""

from collections import Counter

from accounts.errors import PaymentRequired
from accounts.models import ApiKey, Organization
from billing import ledger
from billing.models import Entry, EntryKind, Hold, Wallet


def burst(organization: Organization, worker: int) -> Counter[str]:
    """Ask for 50 holds of 1,000 micro-dollars."""
    seen: Counter[str] = Counter()
    for number in range(50):
        try:
            ledger.reserve(organization, amount_micros=1_000, reference=f"burst:{worker}:{number}")
            seen["admitted"] += 1
        except PaymentRequired as error:
            seen["refused" if error.data["available_micros"] == 999 else "refused too early"] += 1
    return seen


def quarrel(organization: Organization, worker: int) -> Counter[str]:
    """Repeat what all other workers do. Half of the workers settle the holds that the other half release."""
    seen: Counter[str] = Counter()
    for number in range(15):
        ledger.credit(organization, amount_micros=1_000, kind=EntryKind.CREDIT, reference=f"credit:{number}")
        try:
            hold = ledger.reserve(organization, amount_micros=500, reference=f"work:{number}")
            ledger.extend(hold, to_micros=700)
            if worker % 2:
                seen["charged"] += ledger.settle(hold, actual_micros=600) is not None
            else:
                seen["released"] += ledger.release(hold)
        except (ledger.HoldSettled, ledger.HoldReleased):
            seen["late"] += 1
    return seen


def live(organization: Organization, worker: int) -> Counter[str]:
    """Run ten live sessions of unknown length. Half of the workers extend the holds of all, the others end them."""
    seen: Counter[str] = Counter()
    for number in range(10):
        try:
            hold = ledger.reserve(organization, amount_micros=100, reference=f"live:{number}")
            if worker % 2:
                entry = ledger.settle(hold, actual_micros=400)
                if entry is not None:
                    seen["settled"] += 1
                    seen["charged_micros"] -= entry.amount_micros
                continue
            for to_micros in range(200, 1_000, 100):
                ledger.extend(hold, to_micros=to_micros)
                seen["extended"] += 1
        except PaymentRequired:
            seen["refused"] += 1
        except ledger.HoldSettled:
            seen["late"] += 1
    return seen


def nickel(organization: Organization, worker: int) -> Counter[str]:
    """Submit 25 recordings of five seconds, at 417 micro-dollars each."""
    seen: Counter[str] = Counter()
    for number in range(25):
        try:
            ledger.reserve(organization, amount_micros=417, reference=f"nickel:{worker}:{number}")
            seen["admitted"] += 1
        except PaymentRequired as error:
            shortfall = error.data["required_micros"] - error.data["available_micros"]
            seen[f"{error.http_status} {error.type}, {shortfall} missing"] += 1
    return seen


def capped(organization: Organization, worker: int) -> Counter[str]:
    """Reserve and settle 25 times with a key whose monthly limit does not cover all workers."""
    key = organization.api_keys.get()
    seen: Counter[str] = Counter()
    for number in range(25):
        try:
            hold = ledger.reserve(organization, amount_micros=1_000, reference=f"capped:{worker}:{number}", api_key=key)
        except ledger.SpendLimitReached as error:
            seen[f"{error.http_status} {error.type}, {error.data['left_micros']} left"] += 1
            continue
        seen["admitted"] += 1
        ledger.settle(hold, actual_micros=1_000)
    return seen


def expiry_race(organization: Organization, worker: int) -> Counter[str]:
    """Half of the workers expire the inactive balance while the other half reserve from it."""
    wallet = Wallet.objects.get(organization=organization)
    seen: Counter[str] = Counter()
    if worker % 2:
        seen["expired"] += ledger.expire(organization, inactive_since=wallet.last_activity_at) is not None
        return seen
    try:
        ledger.reserve(organization, amount_micros=1_000, reference=f"race:{worker}")
        seen["admitted"] += 1
    except PaymentRequired:
        seen["refused"] += 1
    return seen


def shared_burst(keys: tuple[ApiKey, ApiKey], worker: int) -> list[int]:
    """Ask ten times for a hold of 1,000 micro-dollars for each of two keys, and charge what is held.

    In turn in one statement for both, and in one for each. Returns how many were charged for each. What the lock of
    another worker left undone is done by the other verbs.
    """
    nothing, charged = ledger.Companion("SELECT 1", {}), [0, 0]
    for number in range(10):
        groups = [
            ledger.HoldGroup(key.organization, key, [ledger.HoldRequest(1_000, 1_000, f"{key.pk}:{worker}:{number}")])
            for key in (keys if worker % 2 else reversed(keys))
        ]
        statements = [[group] for group in groups] if number % 2 else [groups]
        held = [holds for one in statements for holds in ledger.reserve_for_each(one, companion=nothing)]
        for group, holds in zip(groups, held, strict=True):
            result = holds or ledger.reserve_each(group.organization, group.requests, api_key=group.api_key)
            if isinstance(result[0], Hold):
                charge = ledger.Charge(result[0], 1_000)
                (is_charged,) = ledger.settle_for_each([charge], companion=nothing)
                if not is_charged:
                    (entry,) = ledger.settle_each([charge])
                    assert isinstance(entry, Entry)
                charged[keys.index(group.api_key)] += 1
    return charged


def spend(organization: Organization, token: ApiKey, worker: int) -> int:
    """Ask ten times for 1,000 micro-dollars by one token. Returns how often it was admitted."""
    admitted = 0
    for number in range(10):
        try:
            ledger.reserve(organization, amount_micros=1_000, reference=f"spend:{worker}:{number}", api_key=token)
            admitted += 1
        except ledger.SpendLimitReached:
            pass
    return admitted
