"""Admin pages of transcription: find a job, see why it failed, cancel it, run it again. Actions call verbs."""

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from accounts.operator_admin import ReadOnlyAdmin, ReadOnlyInline
from transcription import jobs
from transcription.jobs import search
from transcription.models import Delivery, Job, JobItem, Media, Upload, WebhookEndpoint


class JobItemInline(ReadOnlyInline):
    model = JobItem
    fields = readonly_fields = ("position", "media", "status", "attempt", "error_type", "error_message", "finished_at")
    # A batch may have 10,000 items. To see more, search the list of items for the job's id.
    max_shown = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[JobItem]:
        shown = super().get_queryset(request).select_related("media")
        return shown.filter(position__lt=self.max_shown)


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin[Job]):
    list_display = ["created_at", "organization", "name", "status", "progress", "model", "dialect", "error_type", "id"]
    list_filter = ["status", "priority", "dialect", "model", "error_type"]
    list_select_related = ["organization"]
    search_help_text = "An id, the beginning of an organization's name, or words of the name of the job or of a file"
    organization_field = "organization"
    ordering = ["-created_at", "-id"]
    exclude = ["webhook_header_value"]
    inlines = [JobItemInline]
    actions = ["cancel", "run_again"]

    def matches(self, term: str) -> Q:
        return super().matches(term) | Q(pk__in=search.jobs_named(term))

    @admin.action(description="Cancel", permissions=["operate"])
    def cancel(self, request: HttpRequest, rows: QuerySet[Job]) -> None:
        self.do_for_each(request, rows, jobs.cancel, done="Canceled")

    @admin.action(description="Run what failed again, as a new job", permissions=["operate"])
    def run_again(self, request: HttpRequest, rows: QuerySet[Job]) -> None:
        self.do_for_each(request, rows, jobs.run_again, done="Queued again")


@admin.register(JobItem)
class JobItemAdmin(ReadOnlyAdmin[JobItem]):
    list_display = ["id", "job", "position", "status", "attempt", "touched_at", "error_type", "error_message"]
    list_filter = ["status", "error_type"]
    list_select_related = ["job"]
    exact_fields = ("pk", "job", "media", "upload")
    ordering = ["-job__created_at", "-job__id", "position"]


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin[WebhookEndpoint]):
    list_display = ["created_at", "organization", "url", "events", "disabled_at", "disabled_by", "id"]
    list_filter = ["disabled_by"]
    list_select_related = ["organization"]
    organization_field = "organization"
    ordering = ["-created_at"]
    exclude = ["header_value"]


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin[Delivery]):
    list_display = ["created_at", "organization", "event", "host", "state", "attempt", "next_attempt_at", "fault", "id"]
    list_filter = ["state", "event", "fault"]
    list_select_related = ["organization"]
    exact_fields = ("pk", "endpoint", "job")
    organization_field = "organization"
    ordering = ["-created_at"]


@admin.register(Media)
class MediaAdmin(ReadOnlyAdmin[Media]):
    list_display = ["created_at", "organization", "name", "duration_ms", "channels", "codec", "size_bytes", "id"]
    list_filter = ["container", "codec"]
    list_select_related = ["organization"]
    organization_field = "organization"
    ordering = ["-created_at"]


@admin.register(Upload)
class UploadAdmin(ReadOnlyAdmin[Upload]):
    list_display = ["created_at", "organization", "name", "state", "declared_bytes", "expires_at", "error_type", "id"]
    list_filter = ["state", "error_type"]
    list_select_related = ["organization"]
    organization_field = "organization"
    ordering = ["-created_at"]
