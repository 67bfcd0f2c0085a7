from django.apps import AppConfig


class VoxsiteConfig(AppConfig):
    name = "voxsite"

    def ready(self) -> None:
        from transcription import answers
        from voxsite import apex_assistant, checks

        checks.register()
        answers.set_assistant(apex_assistant.ApexAssistant())
