"""Money in a real browser against the real product, with the stand-in for Stripe and its pay page."""

import csv
import io
import re
import time
from decimal import Decimal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, sign_up
from tests.conftest import AUDIO

pytestmark = [pytest.mark.browser, pytest.mark.enable_socket]

# A slow bank answers after some seconds, and the page asks every five.
BANK_MS = 30_000
CLOCK_SECONDS = 90
MICROS = 1_000_000


def micros(text: str) -> int:
    """Return the micro-dollars of an amount on a page: "$1,234.5678"."""
    (dollars, rest) = re.search(r"\$([\d,]+)\.(\d+)", text).groups()
    return int(dollars.replace(",", "")) * MICROS + int(rest.ljust(6, "0"))


def balance(page: Page, site: str) -> int:
    """Return what the billing page says is free to spend, in micro-dollars, once no work of another test runs."""
    deadline = time.monotonic() + CLOCK_SECONDS
    while True:
        page.goto(f"{site}/billing/")
        available, reserved = (
            # The figure itself is rounded to cents.
            micros(page.locator(".figure", has_text=name).locator("b").get_attribute("title"))
            for name in ("Available", "Reserved")
        )
        if not reserved:
            return available
        assert time.monotonic() < deadline, "something stays reserved"
        page.wait_for_timeout(500)


def choose(page: Page, site: str, amount: str) -> None:
    """Choose a product and go to the pay page."""
    page.goto(f"{site}/billing/top-up/")
    page.get_by_label(amount).check()
    page.get_by_role("button", name="Continue to payment").click()
    expect(page.get_by_role("button", name="The card is declined")).to_be_visible()


def buy(page: Page, site: str, amount: str) -> None:
    choose(page, site, f"Pay ${amount}")
    page.get_by_role("button", name=f"Pay ${amount}").click()
    expect(page.get_by_role("heading", name=f"${amount} paid")).to_be_visible()


def test_buy_200_and_see_210(person, site):
    before = balance(person, site)
    buy(person, site, "200.00")
    expect(person.get_by_role("heading", name="$200.00 paid, $210.00 added")).to_be_visible()
    assert balance(person, site) - before == 210 * MICROS
    row = person.locator(".payments tbody tr").first
    expect(row).to_contain_text("with $10.00 bonus")
    ledger = person.locator(".ledger")
    expect(ledger.get_by_role("row").nth(1)).to_contain_text("+$10.00")
    expect(ledger.get_by_role("row").nth(2)).to_contain_text("+$200.00")


def test_automatic_topup_ends_with_an_invoice(open_window, site):
    page = open_window()
    sign_up(page, site)
    page.goto(f"{site}/billing/top-up/")
    page.get_by_label("Pay $10.00").check()
    page.get_by_label("Save card").check()
    page.get_by_role("button", name="Continue to payment").click()
    page.get_by_role("button", name="Pay $10.00").click()
    expect(page.get_by_role("heading", name="$10.00 paid")).to_be_visible()
    page.goto(f"{site}/billing/settings/")
    page.get_by_label("When the balance falls below").fill("50")
    page.get_by_label("Amount or target").fill("200")
    page.get_by_label("Monthly cap").fill("200")
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_text("Monthly cap: $200.00.")).to_be_visible()
    row = page.locator(".payments tbody tr", has_text="automatic")
    # The clock charges within a quarter of a minute, and makes the invoice within another.
    deadline = time.monotonic() + CLOCK_SECONDS
    while not row.get_by_role("link", name="Invoice").is_visible():
        assert time.monotonic() < deadline
        page.wait_for_timeout(1_000)
        page.goto(f"{site}/billing/payments/")
    expect(row).to_contain_text("$210.00 with $10.00 bonus")
    row.get_by_role("link", name="Invoice").click()
    expect(page.get_by_role("heading", name="Invoice SANDBOX-")).to_be_visible()
    for fact in ("Voxsite credit$200.00", "Paid$200.00"):
        expect(page.locator(".facts")).to_contain_text(fact)


def test_declined_card_costs_nothing(person, site):
    before = balance(person, site)
    choose(person, site, "Pay $50.00")
    person.get_by_role("button", name="The card is declined").click()
    expect(person.get_by_role("alert")).to_contain_text("declined")
    person.get_by_role("link", name="Go back without paying").click()
    expect(person.get_by_role("heading", name="You did not pay")).to_be_visible()
    assert balance(person, site) == before


def test_payer_who_left_goes_on_or_cancels(person, site):
    before = balance(person, site)
    choose(person, site, "Pay $50.00")
    person.get_by_role("link", name="Go back without paying").click()
    person.goto(f"{site}/billing/payments/")
    row = person.locator(".payments tbody tr").first
    expect(row).to_contain_text("Incomplete")
    row.get_by_role("link", name="Complete payment $50.00").click()
    expect(person.get_by_role("button", name="The card is declined")).to_be_visible()
    person.get_by_role("link", name="Go back without paying").click()
    person.get_by_role("button", name="Cancel payment").click()
    expect(person.get_by_text("Payment of $50.00 canceled. Nothing was charged.")).to_be_visible()
    expect(row).to_contain_text("You canceled the payment.")
    assert balance(person, site) == before


def test_slow_bank_is_waited_for_and_shown_when_it_says_yes(person, site):
    before = balance(person, site)
    choose(person, site, "Pay $10.00")
    person.get_by_role("button", name="Transfer that arrives").click()
    expect(person.get_by_role("heading", name="Your payment is on its way")).to_be_visible()
    expect(person.get_by_text("Nothing is added to your balance yet.")).to_be_visible()
    # Nobody presses anything: the page asks by itself.
    expect(person.get_by_role("heading", name="$10.00 paid, $10.00 added")).to_be_visible(timeout=BANK_MS)
    assert balance(person, site) - before == 10 * MICROS


def test_refund_of_the_unspent_part(person, site):
    before = balance(person, site)
    buy(person, site, "500.00")
    person.goto(f"{site}/billing/payments/")
    person.get_by_role("link", name="Refund $500.00").first.click()
    expect(person.get_by_role("heading", name="Refund $500.00?")).to_be_visible()
    sums = person.locator(".sums")
    expect(sums).to_contain_text("Bonus returned with it$50.00")
    person.get_by_role("button", name="Refund $500.00").click()
    expect(person.get_by_text("$500.00 goes back to the payment method")).to_be_visible()
    expect(person.get_by_role("row", name="$500.00 refunded").first).to_be_visible()
    assert balance(person, site) == before


def test_refund_of_a_transfer_speaks_of_no_card(open_window, site):
    page = open_window()
    sign_up(page, site)
    choose(page, site, "Pay $10.00")
    page.get_by_role("button", name="Transfer that arrives").click()
    expect(page.get_by_role("heading", name="$10.00 paid, $10.00 added")).to_be_visible(timeout=BANK_MS)
    page.goto(f"{site}/billing/payments/")
    page.get_by_role("link", name="Refund $10.00").first.click()
    main = page.get_by_role("main")
    expect(main).to_contain_text("Refund to the payment method used")
    expect(main).not_to_contain_text(re.compile("card", re.I))
    page.get_by_role("button", name="Refund $10.00").click()
    expect(page.get_by_text("$10.00 goes back to the payment method")).to_be_visible()
    row = page.locator(".payments tbody tr").first
    expect(row).to_contain_text("$10.00 refunded")
    # What is refunded is not offered again.
    expect(row.get_by_role("link", name="Refund")).to_have_count(0)


def test_dispute_is_told_on_pages_and_by_mail_with_the_address_for_support(open_window, site):
    page = open_window()
    email = sign_up(page, site)
    buy(page, site, "10.00")
    page.goto(f"{site}/dev/stripe/")
    page.get_by_role("button", name=re.compile("^Dispute")).first.click()
    page.goto(f"{site}/overview/")
    hold = page.get_by_role("alert").filter(has_text="Your account is on hold")
    deadline = time.monotonic() + CLOCK_SECONDS
    while not hold.is_visible():
        assert time.monotonic() < deadline
        page.wait_for_timeout(500)
        page.reload()
    expect(hold.get_by_role("link")).to_have_attribute("href", re.compile("^mailto:"))
    page.goto(f"{site}/dev/mail/")
    mail = page.get_by_role("row", name=email).filter(has_text="is on hold: a payment is disputed")
    # The clock mails within a minute.
    while not mail.is_visible():
        assert time.monotonic() < deadline
        page.wait_for_timeout(1_000)
        page.reload()
    mail.get_by_role("link").click()
    expect(page.get_by_role("main")).to_contain_text("ask the payer to withdraw it at their bank")


def download_table(page: Page, link: str) -> list[dict[str, str]]:
    """Follow a link to a CSV file and return its rows."""
    with page.expect_download() as download:
        page.get_by_role("link", name=link).click()
    text = download.value.path().read_bytes().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_amounts_of_the_exported_ledger_sum_to_the_balance_shown(person, site):
    buy(person, site, "10.00")
    shown = balance(person, site)
    person.get_by_role("link", name="Full ledger").click()
    rows = download_table(person, "Download CSV")
    assert len(rows) >= 2
    assert sum(int(row["amount_micros"]) for row in rows) == shown
    assert sum(Decimal(row["amount_usd"]) for row in rows) * MICROS == shown
    assert micros(f"${rows[-1]['balance_after_usd']}") == shown


def test_typed_amount_is_the_one_that_is_paid(person, site):
    person.goto(f"{site}/billing/top-up/")
    person.get_by_label("Amount in dollars").fill("20.01")
    expect(person.get_by_label("Another amount")).to_be_checked()
    person.get_by_role("button", name="Continue to payment").click()
    expect(person.get_by_role("heading", name="$20.01")).to_be_visible()


def test_everything_works_on_a_phone_without_javascript(open_window, signed_in, site):
    page = open_window(viewport=PHONE, java_script_enabled=False, storage_state=signed_in)
    before = balance(page, site)
    page.goto(f"{site}/billing/top-up/")
    page.get_by_label("Another amount").check()
    page.get_by_label("Amount in dollars").fill("7.50")
    page.get_by_role("button", name="Continue to payment").click()
    page.get_by_role("button", name="Pay $7.50").click()
    expect(page.get_by_role("heading", name="$7.50 paid")).to_be_visible()
    assert balance(page, site) - before == 7_500_000
    page.goto(f"{site}/billing/settings/")
    page.get_by_label("Monthly spending limit").fill("123.45")
    page.get_by_role("button", name="Save limit").click()
    expect(page.get_by_text("Monthly limit set to $123.45.")).to_be_visible()
    page.goto(f"{site}/billing/ledger/?kind=payment")
    expect(page.locator(".ledger")).to_contain_text("+$7.50")


def test_chart_of_the_usage_page_is_drawn_and_told(person, site):
    person.goto(f"{site}/transcripts/upload/")
    person.locator("input[type=file]").set_input_files(AUDIO / "sentence-slt.wav")
    person.get_by_role("button", name="Transcribe").click()
    person.get_by_role("article").wait_for(timeout=60_000)
    person.goto(f"{site}/billing/usage/")
    chart = person.get_by_role("img", name=re.compile("Cost per day"))
    expect(chart).to_be_visible()
    columns = chart.locator("rect.chart-fill")
    assert columns.count() == 1
    assert columns.first.bounding_box()["height"] > 60
    person.get_by_text("Show table").click()
    charged = -sum(int(row["amount_micros"]) for row in download_table(person, "Download CSV"))
    assert charged > 0
    assert micros(person.get_by_role("row", name="Total").inner_text()) == charged
