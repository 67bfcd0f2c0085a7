"""What the book loses when a payment goes back, and what may go back. Pure.

A payment of P cents brought a bonus of B cents. When T of the P cents have gone back, T + ceil(B·T/P) have left the
book: the bonus goes in the same share, rounded up in micro-dollars. All of it is computed from the sum of what went
back, so that many small refunds cost a customer what one large one does.
"""

from billing import money


def clawed_micros(*, paid_cents: int, bonus_cents: int, returned_cents: int) -> int:
    """Return what has left the book when so much of the payment has gone back in all. More than was paid counts as all.

    For example 2,100,000 for 200 of 20,000 cents that brought 1,000.
    """
    if paid_cents <= 0 or bonus_cents < 0 or returned_cents < 0:
        raise ValueError(f"No such payment: {paid_cents} cents, bonus {bonus_cents}, returned {returned_cents}.")
    returned_cents = min(returned_cents, paid_cents)
    bonus_micros = -(-bonus_cents * money.MICROS_PER_CENT * returned_cents // paid_cents)
    return returned_cents * money.MICROS_PER_CENT + bonus_micros


def unspent_micros(*, received_micros: int, clawed_micros: int, available_micros: int, later_micros: int) -> int:
    """Return what is left of a payment and its bonus, when older money is spent before younger.

    received_micros: payment and bonus; clawed_micros: what of it went back; available_micros: what can be spent.
    later_micros: what came after this payment, less what of that went back: all of it is spent after this.
    """
    return max(0, min(received_micros - clawed_micros, available_micros - later_micros))


def refundable_cents(*, paid_cents: int, bonus_cents: int, returned_cents: int, unspent_micros: int) -> int:
    """Return how much of a payment may go back, if its bonus is spent last: the paid part that is unspent.

    unspent_micros: what is left of the payment and its bonus together.
    """
    clawed = clawed_micros(paid_cents=paid_cents, bonus_cents=bonus_cents, returned_cents=returned_cents)
    returned_cents = min(returned_cents, paid_cents)
    bonus_left_micros = (bonus_cents + returned_cents) * money.MICROS_PER_CENT - clawed
    unspent_paid_micros = max(0, unspent_micros - bonus_left_micros)
    return min(paid_cents - returned_cents, money.cents_down(unspent_paid_micros))
