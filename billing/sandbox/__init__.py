"""A stand-in for Stripe, for development and tests: nobody pays, everything else is as with Stripe.

    transport   stripe-python's HTTP seam: requests come in here instead of going out
    answers     what each address of Stripe's API answers
    payments    what happens to payments: paid, declined, refunded, disputed
    invoices    invoices that no Checkout makes
    shapes      Stripe's objects as JSON; pure
    parameters  what is sent, read as strictly as Stripe does; pure
    form        Stripe's form encoding; pure
    store       the state, in a file of the data folder: web and clock share it, and it outlives both
    courier     signs webhooks for the site's real endpoint: twice, late or out of order if asked to
    rounds      carries them in a running site, and lets slow banks answer
    pages       where one "pays", and where an operator plays bank

It keeps no tables in the database and knows none of our models: like Stripe, it sees only what it is sent. Reached
through `stripe_api` (by name, only if STRIPE_SANDBOX) and `voxsite.urls`; production has neither.
"""
