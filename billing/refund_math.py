"""How much the ledger takes back for a returned payment, and how much may be refunded. Pure.

A payment of P cents brought a bonus of B cents. When T of the P cents are returned, the ledger takes back T cents and
the same share of the bonus, B·T/P, rounded up to a whole micro-dollar. Everything is computed from the sum of what was
returned, so that many small refunds cost a customer the same as one large refund.
"""

from billing import money


def clawed_micros(*, paid_cents: int, bonus_cents: int, returned_cents: int) -> int:
    """Return what the ledger must have taken back in total.

    returned_cents: the sum of all refunds and disputes of the payment; more than paid_cents counts as paid_cents.
    Example: 200 of 20,000 paid cents with a bonus of 1,000 cents give 2,100,000 micro-dollars.
    """
    if paid_cents <= 0 or bonus_cents < 0 or returned_cents < 0:
        raise ValueError(f"No such payment: {paid_cents} cents, bonus {bonus_cents}, returned {returned_cents}.")
    returned_cents = min(returned_cents, paid_cents)
    bonus_micros = -(-bonus_cents * money.MICROS_PER_CENT * returned_cents // paid_cents)
    return returned_cents * money.MICROS_PER_CENT + bonus_micros


def unspent_micros(*, received_micros: int, clawed_micros: int, available_micros: int, later_micros: int) -> int:
    """Return how much of a payment and its bonus is unspent. Older money is spent first.

    received_micros: payment and bonus. clawed_micros: the part of it that was taken back.
    available_micros: what can be spent now.
    later_micros: money that came in after this payment, less what was taken back of it; it is spent after this payment.
    """
    return max(0, min(received_micros - clawed_micros, available_micros - later_micros))


def refundable_cents(*, paid_cents: int, bonus_cents: int, returned_cents: int, unspent_micros: int) -> int:
    """Return how much of a payment may be refunded: its unspent paid part. The bonus is spent last.

    unspent_micros: the unspent part of the payment and its bonus together.
    """
    clawed = clawed_micros(paid_cents=paid_cents, bonus_cents=bonus_cents, returned_cents=returned_cents)
    returned_cents = min(returned_cents, paid_cents)
    bonus_left_micros = (bonus_cents + returned_cents) * money.MICROS_PER_CENT - clawed
    unspent_paid_micros = max(0, unspent_micros - bonus_left_micros)
    return min(paid_cents - returned_cents, money.cents_down(unspent_paid_micros))
