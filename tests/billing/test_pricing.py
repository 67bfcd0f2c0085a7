import ast
import inspect
import json
from types import ModuleType

import pytest

from billing import money, pricing

# VoxParse seed, "Billing Products", as it stands there.
SEED = """{
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
    assert json.dumps(pricing.products_document()) == json.dumps(json.loads(SEED))


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
