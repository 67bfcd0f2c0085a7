"""What programs do at once, for test_creation, which imports no pytest either."""

import json
from collections import Counter

from django.test import Client


def order(key: str, worker: int) -> Counter[str]:
    """Order the same two files. Returns the id of the job."""
    body = json.dumps({"files": [{"reference_id": "a"}, {"reference_id": "b"}]})
    response = Client(HTTP_HOST="localhost").post(
        "/transcribeapi/v1/transcribe", body, content_type="application/json", headers={"X-API-Key": key}
    )
    return Counter({str(response.json()["job_id"]): 1})
