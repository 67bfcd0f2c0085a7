from django.apps import AppConfig


class TranscriptionConfig(AppConfig):
    name = "transcription"

    def ready(self) -> None:
        from billing import ledger
        from transcription.jobs import audit

        # Importing it connects its receivers.
        from transcription.webhooks import billing_events  # noqa: F401

        ledger.also_check(audit.orphaned_holds)
        ledger.also_check(audit.unpaid_texts)
