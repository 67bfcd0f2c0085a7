from django.apps import AppConfig


class TranscriptionConfig(AppConfig):
    name = "transcription"

    def ready(self) -> None:
        from accounts import closures
        from billing import ledger, ledger_reader
        from transcription.closures import PART
        from transcription.jobs import audit, charging

        # Importing it connects its receivers.
        from transcription.webhooks import billing_events  # noqa: F401

        closures.register(PART)
        ledger.also_check(audit.orphaned_holds)
        ledger.also_check(audit.unpaid_texts)
        ledger_reader.name_references(charging.names_of_references)
