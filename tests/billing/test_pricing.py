import ast
import inspect
import json
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import money, pricing

# VoxParse's published API, "Billing Products", as it stands there.
PUBLISHED = """{
"products": [
{"amount_cents":1000,"amount_dollars":"10.00","bonus_cents":0,"bonus_dollars":"0.00","total_credit_cents":1000,"total_credit_dollars":"10.00"},
{"amount_cents":5000,"amount_dollars":"50.00","bonus_cents":0,"bonus_dollars":"0.00","total_credit_cents":5000,"total_credit_dollars":"50.00"},
{"amount_cents":20000,"amount_dollars":"200.00","bonus_cents":1000,"bonus_dollars":"10.00","total_credit_cents":21000,"total_credit_dollars":"210.00"},
{"amount_cents":50000,"amount_dollars":"500.00","bonus_cents":5000,"bonus_dollars":"50.00","total_credit_cents":55000,"total_credit_dollars":"550.00"}
],
"currency": "usd",
"note": "Credits expire after 6 months of account inactivity."
}"""


def test_products_are_the_seeds_to_the_letter() -> None:
    assert json.dumps(pricing.products_document()) == json.dumps(json.loads(PUBLISHED))


@pytest.mark.parametrize(
    ("amount_cents", "bonus_cents"),
    [(0, 0), (19_999, 0), (20_000, 1_000), (20_019, 1_000), (20_020, 1_001), (49_999, 2_499), (50_000, 5_000)],
)
def test_bonus_tiers(amount_cents: int, bonus_cents: int) -> None:
    assert pricing.bonus_cents(amount_cents) == bonus_cents


@pytest.mark.parametrize(
    ("duration_ms", "rate", "price"),
    [
        (709_000, 150_000, 29_542),
        (708_001, 150_000, 29_542),
        (3_600_000, 300_000, 300_000),
        (1, 300_000, 83),
        (0, 1, 0),
    ],
)
def test_transcription_price(duration_ms: int, rate: int, price: int) -> None:
    assert pricing.transcription_price_micros(duration_ms=duration_ms, rate_micros_per_hour=rate) == price


@pytest.mark.parametrize("module", [money, pricing])
def test_no_floats_in_money(module: ModuleType) -> None:
    nodes = list(ast.walk(ast.parse(inspect.getsource(module))))
    assert not [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, float)]
    assert not [node for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)]
    assert not [node for node in nodes if isinstance(node, ast.Name) and node.id in {"float", "round"}]


@pytest.mark.parametrize(
    ("credit_cents", "amount_cents"),
    [
        *((0, 0), (1, 1), (19_999, 19_999), (20_000, 20_000), (20_001, 20_000), (21_000, 20_000), (21_001, 20_001)),
        *((52_498, 49_999), (52_499, 50_000), (55_000, 50_000), (55_001, 50_001), (110_000, 100_000)),
    ],
)
def test_smallest_payment_for_a_credit(credit_cents: int, amount_cents: int) -> None:
    assert pricing.amount_for_credit_cents(credit_cents) == amount_cents


@given(st.integers(0, 150_000))
def test_no_smaller_payment_brings_the_credit(credit_cents: int) -> None:
    amount_cents = pricing.amount_for_credit_cents(credit_cents)
    assert amount_cents + pricing.bonus_cents(amount_cents) >= credit_cents
    assert all(
        smaller + pricing.bonus_cents(smaller) < credit_cents
        for smaller in (amount_cents - 1, 49_999, 19_999, amount_cents - 1_000)
        if 0 <= smaller < amount_cents
    )
