"""The whole site with the settings of tests, loaded when this module is imported.

The fork server of tests/contention.py imports it, and not pytest's process.
"""

import django
import pytest  # noqa: F401  (the settings look whether it is there)

django.setup()

import tests.stripe  # noqa: E402, F401 - as the tests do
import voxsite.urls  # noqa: E402, F401 - imports all views
