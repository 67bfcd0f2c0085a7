from django.apps import AppConfig


class VoxsiteConfig(AppConfig):
    name = "voxsite"

    def ready(self) -> None:
        from voxsite import checks

        checks.register()
