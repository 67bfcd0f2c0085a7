"""Django's handler of files of forms that are spooled to the disk, for file names of any kind."""

from typing import Any

from django.core.files.uploadhandler import TemporaryFileUploadHandler


class UploadHandler(TemporaryFileUploadHandler):
    """Keeps what a customer calls a file out of the name that it has on the disk.

    Django ends that name with the extension, however long it is (Django 5.2, `TemporaryUploadedFile`, read in source).
    One of more than 230 bytes is more than a file system takes, and was an error 500.
    """

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        super().new_file(field_name, "file", *args, **kwargs)
        self.file.name = file_name
        self.file_name = file_name
