from django.apps import AppConfig


class VoxsiteConfig(AppConfig):
    name = "voxsite"

    def ready(self) -> None:
        from transcription import answers
        from voxsite import assistant, checks

        checks.register()
        answers.set_assistant(assistant.ApexAssistant())
