from django.apps import AppConfig


class ApexConfig(AppConfig):
    name = "apex"

    def ready(self) -> None:
        from accounts import closures
        from apex import checks
        from apex.closures import PART

        checks.register()
        closures.register(PART)
