"""The entry point of script/server."""

import subprocess
import sys

from tests.product import PROJECT_DIR, environment_of


def test_importing_the_supervisor_needs_no_settings():
    code = "import sys, voxsite.serve.__main__ as m; sys.exit('django.conf' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, env=environment_of(), check=True, timeout=30)
