"""What every API request passes: authentication, rate limits, idempotency keys, and errors as responses."""
