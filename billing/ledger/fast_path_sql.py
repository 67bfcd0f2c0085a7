"""The rule of the fast path as conditional UPDATEs, which both databases run.

`fast_path_sqlite` runs them one after another; `fast_path_postgresql` joins them into one statement. `holds` states the
same rule under the lock, with every case and the reason of each refusal. Nothing but text is in here.

Each UPDATE checks and writes in one step, so no other transaction can come between the two. One that finds no row means
that the fast path is not available.

Named values: organization and key (ids), month (its first day), now, no_limit (NO_LIMIT_MICROS), and in micro-dollars
total (what is reserved or charged in all), held (what the holds have reserved), unspent (held less total).
"""

# Stands for "no limit" in a comparison: above every amount, and far enough below 2**63 that a sum cannot overflow.
NO_LIMIT_MICROS = 2**62

# Reserve an amount that is available. `low_since` is kept as by `wallets.save`.
RESERVE_FROM_WALLET = """
UPDATE billing_wallet SET held_micros = held_micros + %(total)s, last_activity_at = %(now)s,
    low_since = CASE WHEN low_balance_micros > balance_micros - held_micros - %(total)s
        THEN COALESCE(low_since, %(now)s) END
WHERE organization_id = %(organization)s AND frozen_at IS NULL AND balance_micros - held_micros >= %(total)s"""

# Take a charge and give back the rest of what was held.
CHARGE_WALLET = """
UPDATE billing_wallet SET held_micros = held_micros - %(held)s, balance_micros = balance_micros - %(total)s,
    last_activity_at = %(now)s,
    low_since = CASE WHEN low_balance_micros > balance_micros - held_micros + %(unspent)s
        THEN COALESCE(low_since, %(now)s) END
WHERE id = %(wallet)s AND frozen_at IS NULL"""

# Add to a month's spend within its limit, and take from it. To be formatted with: wallet, its id; whose, one of the
# conditions below; limit, in micro-dollars, NULL for none.
ADD_TO_MONTH = """
UPDATE billing_monthlyspend SET spent_micros = spent_micros + %(total)s
WHERE wallet_id = {wallet} AND month = %(month)s AND {whose}
    AND spent_micros + %(total)s <= COALESCE({limit}, %(no_limit)s)"""
TAKE_FROM_MONTH = """
UPDATE billing_monthlyspend SET spent_micros = spent_micros - %(unspent)s
WHERE wallet_id = {wallet} AND month = %(month)s AND {whose}"""
OF_ORGANIZATION = "api_key_id IS NULL"
OF_KEY = "api_key_id = %(key)s"
LIMIT_OF_KEY = "(SELECT monthly_limit_micros FROM accounts_apikey WHERE id = %(key)s)"


class FastPathUnavailable(Exception):
    """Nothing was done: too little money, a limit, a freeze, the first hold of a month, or a hold that has changed."""
