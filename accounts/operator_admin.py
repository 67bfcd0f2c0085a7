"""Base classes of the admin pages of all apps: rows are read-only, and actions call verbs.

A form of the admin would bypass the rules of the verbs, for example that an organization keeps an owner.
"""

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import CharField, Field, Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import cached_property

from accounts import log_context
from accounts.errors import VoxsiteError
from accounts.models import Organization, User

Row = TypeVar("Row", bound=Model)

MAX_COUNT = 10_000
# The newest rows, whose values filters offer.
RECENT_ROWS = 1_000
# Organizations or people whose rows one search finds.
MAX_OWNERS = 100

if TYPE_CHECKING:

    class ModelAdmin(admin.ModelAdmin[Row]): ...

    class _TabularInline(admin.TabularInline[Any, Any]): ...

else:
    # Django's classes take type arguments only in their stubs.
    class ModelAdmin(admin.ModelAdmin, Generic[Row]): ...

    class _TabularInline(admin.TabularInline): ...


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # Django's class takes type arguments only in its stubs
    """Counts rows up to `max_count`: to count a million of them takes longer than to show a page."""

    max_count = MAX_COUNT

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: self.max_count].count())


class RecentValuesFilter(admin.AllValuesFieldListFilter):
    """Offers the values that the newest rows have: to find those of all rows reads the whole table."""

    def __init__(
        self,
        field: Any,
        request: HttpRequest,
        params: dict[str, Any],
        model: type[Model],
        model_admin: Any,
        field_path: str,
    ) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        newest = model._default_manager.order_by(*model_admin.get_ordering(request))
        values = newest.values_list(field.name, flat=True)[:RECENT_ROWS]
        self.lookup_choices: Any = sorted(set(values), key=lambda value: (value is not None, value))


class ReadOnlyAdmin(ModelAdmin[Row]):
    """Read-only rows. Actions of a subclass call verbs and require the permission `operate`.

    A search compares the whole term with fields that have an index, and with the beginnings of names of organizations
    and of addresses of people. To look for a part of any text would read whole tables.
    """

    show_full_result_count = False
    paginator: ClassVar[type[BoundedPaginator]] = BoundedPaginator
    # Fields that are compared as they are.
    exact_fields: ClassVar[tuple[str, ...]] = ("pk",)
    # The foreign key to the organization, and those to people. "pk" of organizations and people themselves.
    organization_field: ClassVar[str] = ""
    person_field: ClassVar[str] = ""
    search_help_text = "An id or reference, or the beginning of the name of an organization or of an e-mail address"

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return self.exact_fields

    def get_list_filter(self, request: HttpRequest) -> Any:
        return [self._bounded_filter(one) if isinstance(one, str) else one for one in super().get_list_filter(request)]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(self.matches(term)) if term else queryset), False

    def matches(self, term: str) -> Q:
        """Return which rows a search finds. term: not empty. A subclass may add others."""
        found = Q(pk__in=())
        for name in self.exact_fields:
            with suppress(ValidationError):
                found |= Q(**{name: self._field(name).to_python(term)})
        if self.organization_field:
            found |= self.of_organizations(_organizations(term))
        if self.person_field:
            people = User.objects.filter(email__istartswith=term).order_by("pk")
            found |= Q(**{f"{self.person_field}__in": list(people.values_list("pk", flat=True)[:MAX_OWNERS])})
        return found

    def of_organizations(self, organization_ids: Sequence[uuid.UUID]) -> Q:
        """Return which rows belong to organizations. A subclass whose rows have no key of theirs finds its way there.

        The ids are values and no subquery, so that the planner knows how many rows each has.
        """
        return Q(**{f"{self.organization_field}__in": organization_ids})

    def _field(self, name: str) -> "Field[Any, Any]":
        found: Any = self.opts.pk if name == "pk" else self.opts.get_field(name)
        target: Field[Any, Any] = found.target_field if found.is_relation else found
        return target

    def _bounded_filter(self, name: str) -> Any:
        field: Any = self.opts.get_field(name)
        return (name, RecentValuesFilter) if isinstance(field, CharField) and not field.choices else name

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Row | None = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Tell whether the operator may use the actions. They need Django's permission to change such rows."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        # The page says "Select all 10000" of a list that is longer, and Django would act on all of it.
        is_of_all = any(map(forms.BooleanField().to_python, request.POST.getlist("select_across")))
        max_count = self.paginator.max_count
        if is_of_all and queryset.order_by()[: max_count + 1].count() > max_count:
            refusal = f"Nothing was done: these are more than {max_count:,} rows. Filter the list, or select rows."
            self.message_user(request, refusal, messages.ERROR)
            return None
        return super().response_action(request, queryset, *args, **kwargs)

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
                with log_context.about(operator_id=request.user.pk):
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


def _organizations(term: str) -> list[uuid.UUID]:
    """Return the ids of organizations: of this id, else of up to MAX_OWNERS whose names begin so."""
    with suppress(ValueError):
        return [uuid.UUID(term)]
    named = Organization.objects.filter(name__istartswith=term).order_by("pk")
    return list(named.values_list("pk", flat=True)[:MAX_OWNERS])


class ReadOnlyInline(_TabularInline):
    """Read-only rows on the page of another row."""

    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, *_args: Any, **_kwargs: Any) -> bool:
        return False

    def has_change_permission(self, *_args: Any, **_kwargs: Any) -> bool:
        return False
