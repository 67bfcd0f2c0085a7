"""Base classes of the admin pages of all apps: rows are read-only, and actions call verbs.

A form of the admin would bypass the rules of the verbs, for example that an organization keeps an owner.
"""

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from django.contrib import admin, messages
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from accounts.errors import VoxsiteError

Row = TypeVar("Row", bound=Model)

if TYPE_CHECKING:

    class ModelAdmin(admin.ModelAdmin[Row]): ...

    class _TabularInline(admin.TabularInline[Any, Any]): ...

else:
    # Django's classes take type arguments only in their stubs.
    class ModelAdmin(admin.ModelAdmin, Generic[Row]): ...

    class _TabularInline(admin.TabularInline): ...


class ReadOnlyAdmin(ModelAdmin[Row]):
    """Read-only rows. Actions of a subclass call verbs and require the permission `operate`."""

    show_full_result_count = False
    # Fields that hold ids. A search for an id uses their indexes, and does not search all texts.
    id_fields: ClassVar[tuple[str, ...]] = ("pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        try:
            wanted = uuid.UUID(search_term.strip())
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        matches = Q()
        for field in self.id_fields:
            matches |= Q(**{field: wanted})
        return queryset.filter(matches), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Tell whether the operator may use the actions. They need Django's permission to change such rows."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def do_for_each(
        self, request: HttpRequest, rows: QuerySet[Any], verb: Callable[[Any], object], *, done: str
    ) -> None:
        """Call a verb for each selected row. Show and log what was done, and show why it was refused.

        done: what happened to a row, for messages and the log, such as "Canceled".
        """
        changed = 0
        for row in rows:
            name = str(row)
            try:
                verb(row)
            except VoxsiteError as error:
                self.message_user(request, f"{name}: {error.message}", messages.ERROR)
                continue
            self._log(request, row, f"{done}.")
            changed += 1
        if changed:
            self.message_user(request, f"{done}: {changed}.", messages.SUCCESS)

    def _log(self, request: HttpRequest, row: Row, sentence: str) -> None:
        if row.pk is not None:
            self.log_change(request, row, sentence)


class ReadOnlyInline(_TabularInline):
    """Read-only rows on the page of another row."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, *_args: Any, **_kwargs: Any) -> bool:
        return False

    def has_change_permission(self, *_args: Any, **_kwargs: Any) -> bool:
        return False
