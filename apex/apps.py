from django.apps import AppConfig


class ApexConfig(AppConfig):
    name = "apex"

    def ready(self) -> None:
        from apex import checks

        checks.register()
