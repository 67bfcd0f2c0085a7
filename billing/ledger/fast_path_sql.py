"""The rule of the fast path as conditional UPDATEs, which both databases run.

`fast_path_sqlite` runs them one after another; `fast_path_postgresql` joins them into one statement for one wallet, and
`many_wallets_postgresql` into one for several. `holds` states the same rule under the lock, with every case and the
reason of each refusal. Nothing but text is in here.

Each UPDATE checks and writes in one step, so no other transaction can come between the two. One that finds no row means
that the fast path is not available.

Named values: organization and key (ids), month (its first day), now, no_limit (NO_LIMIT_MICROS), and in micro-dollars
total (what is reserved or charged in all), held (what the holds have reserved), unspent (held less total). A statement
for several wallets has other expressions in their places, so the texts are to be formatted with `ONE` or with those.
"""

# Stands for "no limit" in a comparison: above every amount, and far enough below 2**63 that a sum cannot overflow.
NO_LIMIT_MICROS = 2**62

# What the UPDATEs below are to be formatted with for one wallet. rows: where the wallets or months come from.
ONE = {"total": "%(total)s", "held": "%(held)s", "unspent": "%(unspent)s"}

# Reserve an amount that is available. `low_since` is kept as by `wallets.save`.
RESERVE_FROM_WALLET = """
UPDATE billing_wallet SET held_micros = held_micros + {total}, last_activity_at = %(now)s,
    low_since = CASE WHEN low_balance_micros > balance_micros - held_micros - {total}
        THEN COALESCE(low_since, %(now)s) END
{rows} AND frozen_at IS NULL AND balance_micros - held_micros >= {total}"""
OF_WALLET_OF_ORGANIZATION = "WHERE organization_id = %(organization)s"

# Take a charge and give back the rest of what was held.
CHARGE_WALLET = """
UPDATE billing_wallet SET held_micros = held_micros - {held}, balance_micros = balance_micros - {total},
    last_activity_at = %(now)s,
    low_since = CASE WHEN low_balance_micros > balance_micros - held_micros + {unspent}
        THEN COALESCE(low_since, %(now)s) END
{rows} AND frozen_at IS NULL"""
OF_WALLET = "WHERE id = %(wallet)s"

# Add to a month's spend within its limit, and take from it. limit: in micro-dollars, NULL for none.
ADD_TO_MONTH = """
UPDATE billing_monthlyspend SET spent_micros = spent_micros + {total}
{rows} AND spent_micros + {total} <= COALESCE({limit}, %(no_limit)s)"""
TAKE_FROM_MONTH = """
UPDATE billing_monthlyspend SET spent_micros = spent_micros - {unspent}
{rows}"""
# The rows of one wallet's month. wallet: its id; whose: one of the conditions below.
OF_MONTH = "WHERE wallet_id = {wallet} AND month = %(month)s AND {whose}"
OF_ORGANIZATION = "api_key_id IS NULL"
OF_KEY = "api_key_id = %(key)s"
# The limit of a wallet's or a key's row that counts now, in the words of `limit_at`: the raised one while it lasts.
LIMIT_NOW = "CASE WHEN {row}.raised_until > %(now)s THEN {row}.raised_limit_micros ELSE {row}.monthly_limit_micros END"
_LIMIT_OF = "(SELECT {limit} FROM {row} WHERE id = {id})"
LIMIT_OF_KEY = _LIMIT_OF.format(limit=LIMIT_NOW.format(row="accounts_apikey"), row="accounts_apikey", id="%(key)s")
LIMIT_OF_WALLET = _LIMIT_OF.format(limit=LIMIT_NOW.format(row="billing_wallet"), row="billing_wallet", id="%(wallet)s")


class FastPathUnavailable(Exception):
    """Nothing was done: too little money, a limit, a freeze, the first hold of a month, or a hold that has changed."""
