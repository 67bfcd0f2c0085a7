"""The download of all that an organization has. Gate, query, render."""

from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_POST

from accounts import access
from accounts.decorators import page
from accounts.gate import limits
from accounts.models import Role
from accounts.streaming import asynchronously
from transcription import exports


@page
@require_POST
def export(request: HttpRequest) -> HttpResponseBase:
    """Send everything as a ZIP archive. For admins, who see the members, keys and ledger that are in it."""
    organization = access.require_role(request, Role.ADMIN).organization
    limits.spend(organization, scope="exports")
    response = StreamingHttpResponse(asynchronously(exports.zip_of(organization)), content_type="application/zip")
    response["Content-Disposition"] = content_disposition_header(True, f"voxsite-{timezone.now():%Y-%m-%d}.zip")
    return response
