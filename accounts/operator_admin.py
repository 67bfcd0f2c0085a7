"""What the admin pages of all apps share: rows are read, and verbs change them.

A write through a form of the admin would pass by the rules that the verbs keep, such as "the last owner stays".
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

    class _ModelAdmin(admin.ModelAdmin[Row]): ...

    class _TabularInline(admin.TabularInline[Any, Any]): ...

else:
    # Django's classes take type arguments only in their stubs.
    class _ModelAdmin(admin.ModelAdmin, Generic[Row]): ...

    class _TabularInline(admin.TabularInline): ...


class ReadOnlyAdmin(_ModelAdmin[Row]):
    """Rows that are only read. Actions of a subclass call verbs and name `operate` as their permission."""

    show_full_result_count = False
    # Fields that hold ids. A search for an id is one look into their indexes, and not a search in all texts.
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
        """Tell whether the operator may use the actions: with Django's permission to change such rows."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def do_for_each(
        self, request: HttpRequest, rows: QuerySet[Any], verb: Callable[[Any], object], *, done: str
    ) -> None:
        """Call a verb for each chosen row; show and log what was done, and what each refusal says.

        done: what happened to a row, for messages and the log: "Canceled".
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
    """Rows below another one that are only read."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, *_args: Any, **_kwargs: Any) -> bool:
        return False

    def has_change_permission(self, *_args: Any, **_kwargs: Any) -> bool:
        return False
