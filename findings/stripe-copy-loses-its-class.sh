#!/bin/sh
# A copy of a Stripe object is no longer that kind of object, is unequal to it, and an empty one is true.
#
# Guess: stripe-python 15 made its objects no dicts any more, but they are values still: `copy.deepcopy(charge)` is a
#   Charge that equals the charge, as pickle's copy does. `bool(charge.metadata)` still tells whether there is any.
#   `to_dict()` gives what `json.dumps` takes.
# What happens:
#   * copy.copy and copy.deepcopy return a bare StripeObject. It equals nothing that Stripe returned, has no methods
#     (`capture`), and the copy of a list cannot be iterated. pickle keeps the class.
#   * Objects have no length and are always true: `if charge.metadata:` now holds for empty metadata too.
#   * Decimal strings become Decimal: `json.dumps(price.to_dict())` raises TypeError. `to_dict(for_json=True)` works.
#   * `json.dumps(event, default=str)` raises nothing and writes one string with JSON inside.
# Why it matters: code that keeps a copy "as it was before" to compare with, the usual way to find a duplicate or
#   changed payment, finds a change every time. Audit records hold a string instead of the event.
#
# Found with stripe 15.6.2 and 16.1.0 in 2026-11.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
cat >run.py <<'END'
import copy
import json
import pickle

import stripe

key = "sk_test_made_up"
charge = stripe.Charge.construct_from({"id": "ch_1", "object": "charge", "amount": 500, "metadata": {}}, key)
same = stripe.Charge.construct_from({"id": "ch_1", "object": "charge", "amount": 500, "metadata": {}}, key)
price = stripe.Price.construct_from({"id": "p_1", "object": "price", "unit_amount_decimal": "0.5"}, key)
page = {"object": "list", "data": [{"id": "ch_1", "object": "charge"}], "has_more": False, "url": "/v1/charges"}
charges = stripe.ListObject.construct_from(page, key)
shallow, deep, pickled = copy.copy(charge), copy.deepcopy(charge), pickle.loads(pickle.dumps(charge))


def outcome(call):
    try:
        return call()
    except (TypeError, AttributeError) as error:
        return type(error).__name__


seen = {
    "two answers are equal": charge == same,
    "class of pickle, copy, deepcopy": [type(each).__name__ for each in (pickled, shallow, deep)],
    "equal to the original": [each == charge for each in (pickled, shallow, deep)],
    "can be captured": [hasattr(each, "capture") for each in (pickled, shallow, deep)],
    "iterate a list, its copy": [outcome(lambda: len(list(each))) for each in (charges, copy.deepcopy(charges))],
    "empty metadata is true": bool(charge.metadata),
    "json of to_dict()": outcome(lambda: json.dumps(price.to_dict())),
    "json of to_dict(for_json=True)": json.loads(json.dumps(price.to_dict(for_json=True)))["unit_amount_decimal"],
    "json with default=str": type(json.loads(json.dumps(price, default=str))).__name__,
}
print("stripe", stripe.VERSION)
for name, value in seen.items():
    print(f"  {name}: {value}")
assert list(seen.values()) == [
    True,
    ["Charge", "StripeObject", "StripeObject"],
    [True, False, False],
    [True, False, False],
    [1, "TypeError"],
    True,
    "TypeError",
    "0.5",
    "str",
], seen
END
for version in 15.6.2 16.1.0; do
    venv/bin/pip install -qq "stripe==$version"
    venv/bin/python run.py
done
echo "as found: copies are bare StripeObjects, unequal to the original"
