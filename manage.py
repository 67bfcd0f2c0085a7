#!/usr/bin/env python
"""Django's command line. A data folder that script/server made for development is used as such."""

import os
import sys
from pathlib import Path


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voxsite.settings")
    # script/server leaves this mark, so that `manage.py create_organization` beside a running development server
    # finds the same data without further words. The web process never reads it: there, silence means production.
    data_dir = Path(os.environ.get("VOXSITE_DATA_DIR", Path(__file__).resolve().parent / "var"))
    if "VOXSITE_ENV" not in os.environ and (data_dir / "development").exists():
        os.environ["VOXSITE_ENV"] = "development"

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
