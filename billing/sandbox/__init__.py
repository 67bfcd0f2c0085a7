"""A stand-in for Stripe in development and tests. No money moves; all else works as with Stripe.

    transport          the HTTP client of stripe-python: answers requests here instead of sending them to Stripe
    routes             what each address of Stripe's API does
    parameters         reads the parameters of requests, as strictly as Stripe; pure
    form_encoding      decodes Stripe's form encoding; pure
    invoices           invoices without a Checkout
    payment_actions    what happens to payments: paid, declined, processing
    refund_actions     what happens to them later: refunded, disputed
    events             what Stripe tells of a change
    shapes             Stripe's objects as JSON; pure; also payment_shapes and invoice_shapes
    store              the state, in a file of the data folder that web and clock share
    webhook_sender     signs events and sends them to the site's webhook endpoint
    background_thread  calls webhook_sender in a running site, and runs scheduled actions
    pages              the pay page, receipts and invoices, and the control page for developers

The sandbox has no tables in the site's database and uses none of its models: like Stripe, it sees only what it is sent.
Only `stripe_api` (by name, if STRIPE_SANDBOX) and `voxsite.urls` refer to it. Production has neither.
"""
