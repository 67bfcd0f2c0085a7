from django.apps import AppConfig


class VoxsiteConfig(AppConfig):
    name = "voxsite"

    def ready(self) -> None:
        from transcription import assistant
        from voxsite import apex_assistant, checks

        checks.register()
        assistant.register(apex_assistant.ApexAssistant())
