"""Webhooks: what is told to whom, how it is signed, sent and tried again."""
