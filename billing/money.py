"""Arithmetic and text of money: whole micro-dollars, never floats. Pure."""

MICROS_PER_CENT = 10_000
MICROS_PER_DOLLAR = 1_000_000
SECONDS_PER_HOUR = 3600
MS_PER_SECOND = 1000
MINUS = "\N{MINUS SIGN}"


def cents_down(micros: int) -> int:
    """Return whole cents, rounded down: what can be spent is never overstated."""
    return micros // MICROS_PER_CENT


def cents_up(micros: int) -> int:
    """Return whole cents, rounded up: what is needed is never understated."""
    return -(-micros // MICROS_PER_CENT)


def dollars_text(micros: int, *, places: int = 2) -> str:
    """Return dollars as programs read them, "99.98" or with six places "0.029542"; half goes away from zero.

    places: 2 or 6.
    """
    if places not in {2, 6}:
        raise ValueError(f"Money is shown with 2 or 6 places, not {places}.")
    units_per_dollar = 10**places
    units = _divide_half_up(micros, MICROS_PER_DOLLAR // units_per_dollar)
    dollars, rest = divmod(abs(units), units_per_dollar)
    return f"{'-' if units < 0 else ''}{dollars}.{rest:0{places}d}"


def display_text(micros: int) -> str:
    """Return the exact amount as people read it: "$1.23", "$1,234.00", with a true minus sign before what is negative.

    At least two places, and as many of the six as the amount has: "$0.0016".
    """
    dollars, rest = divmod(abs(micros), MICROS_PER_DOLLAR)
    places = f"{rest:06d}"
    return f"{MINUS if micros < 0 else ''}${dollars:,}.{places[:2]}{places[2:].rstrip('0')}"


def micros_from_dollars(text: str) -> int:
    """Return the micro-dollars of a plain amount such as "20", "0.5" or "1.000001". Raises ValueError for any other."""
    whole, point, rest = text.strip().partition(".")
    is_plain = whole.isascii() and whole.isdigit() and (not point or (rest.isascii() and rest.isdigit()))
    if not is_plain or len(rest) > 6 or len(whole) > 9:
        raise ValueError("An amount is written like 20 or 0.50, with at most six places.")
    return int(whole) * MICROS_PER_DOLLAR + int(rest.ljust(6, "0"))


def started_seconds(duration_ms: int) -> int:
    """Return how many seconds were begun: 0 for nothing, 1 for a single millisecond."""
    if duration_ms < 0:
        raise ValueError(f"A duration cannot be negative: {duration_ms} ms.")
    return -(-duration_ms // MS_PER_SECOND)


def price_for_duration(rate_micros_per_hour: int, duration_ms: int) -> int:
    """Return the price of a duration, per started second, rounded half up to one micro-dollar."""
    if rate_micros_per_hour < 0:
        raise ValueError(f"A rate cannot be negative: {rate_micros_per_hour}.")
    return _divide_half_up(rate_micros_per_hour * started_seconds(duration_ms), SECONDS_PER_HOUR)


def _divide_half_up(dividend: int, divisor: int) -> int:
    quotient = (2 * abs(dividend) + divisor) // (2 * divisor)
    return -quotient if dividend < 0 else quotient
