"""Deepgram's addresses of projects: the organization of a key is the one project that there is."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import NotFound, VoxsiteError
from accounts.gate.views import GateView, UnknownAddress
from accounts.models import Organization
from billing import statements
from transcription import faces
from transcription.dialects.deepgram import schema, wire


class ProjectGateView(GateView):
    """A view whose errors have Deepgram's shape."""

    key_schemes = faces.DEEPGRAM.key_schemes

    def show_error(self, error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
        return wire.show_error(error, request_id=request_id)

    def find(self, project_id: str) -> Organization:
        """Return the organization of the key. Raises NotFound for any other, which may exist or not."""
        organization = self.caller.organization
        if project_id != str(organization.pk):
            raise NotFound
        return organization


class ProjectUnknownAddress(ProjectGateView, UnknownAddress):
    """The catch-all under `/v1/projects`."""


class ProjectsView(ProjectGateView):
    """The projects of the key: one."""

    @extend_schema(
        operation_id="deepgram_list_projects",
        summary="List projects as Deepgram does",
        tags=["Deepgram"],
        responses={200: schema.Projects, **schema.error_responses(401, 403, 429)},
    )
    def get(self, _request: Request) -> Response:
        """The organization of the key is its one project. Deepgram's command line asks for it before anything else."""
        organization = self.caller.organization
        return Response({"projects": [wire.show_project(str(organization.pk), name=organization.name)]})


class ProjectView(ProjectGateView):
    """One project."""

    @extend_schema(
        operation_id="deepgram_get_project",
        summary="Get a project as Deepgram does",
        tags=["Deepgram"],
        responses={200: schema.Project, **schema.error_responses(401, 403, 404, 429)},
    )
    def get(self, _request: Request, project_id: str) -> Response:
        """No recording trains a model here, so `mip_opt_out` is true."""
        organization = self.find(project_id)
        return Response({**wire.show_project(project_id, name=organization.name), "mip_opt_out": True})


class BalancesView(ProjectGateView):
    """The balances of a project: one."""

    @extend_schema(
        operation_id="deepgram_list_balances",
        summary="List balances as Deepgram does",
        tags=["Deepgram"],
        responses={200: schema.Balances, **schema.error_responses(401, 403, 404, 429)},
    )
    def get(self, _request: Request, project_id: str) -> Response:
        """What can be spent now, in dollars."""
        balance = statements.balance(self.find(project_id))
        return Response({"balances": [wire.show_balance(project_id, available_micros=balance.available_micros)]})
