"""The form that finds transcripts in the list: words, days, people, languages and the order."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django import forms

from accounts.models import Organization
from billing.forms import DayField
from transcription import recognition
from transcription.jobs import naming
from transcription.jobs.finding import Sort, Wanted
from transcription.speech import search_words

MAX_QUERY_CHARACTERS = 200
MAX_PHRASES = 10
PROGRAMS = "programs"


class FindForm(forms.Form):
    """What the list of transcripts shows. Everything is optional."""

    q = forms.CharField(
        label="Search",
        required=False,
        max_length=MAX_QUERY_CHARACTERS,
        widget=forms.TextInput(
            attrs={"type": "search", "placeholder": "Names and spoken words", "autocomplete": "off"}
        ),
    )
    since = DayField(label="From day")
    until = DayField(label="To day")
    person = forms.ChoiceField(label="Uploaded by", required=False)
    language = forms.ChoiceField(label="Language", required=False)
    tag = forms.ChoiceField(label="Tag", required=False)
    sort = forms.ChoiceField(label="Order", required=False, choices=Sort.choices)

    FILTERS = ("since", "until", "person", "language", "tag", "sort")

    def __init__(self, data: Any, *, organization: Organization) -> None:
        super().__init__({name: data[name] for name in self.base_fields if data.get(name)})
        # Asked for when they are shown or compared with: the page asks for its rows every few seconds without them.
        self._organization = organization
        self._choose_from("person", lambda: self._people)
        self._choose_from("language", lambda: [("", "All"), *recognition.language_names().items()])
        self._choose_from("tag", lambda: [("", "All"), *((name, name) for name in self.tag_names)])

    @cached_property
    def tag_names(self) -> list[str]:
        return naming.tag_names(self._organization)

    @cached_property
    def _people(self) -> list[tuple[str, str]]:
        members = self._organization.memberships.select_related("user").order_by("user__email")
        of_members = [(str(one.user_id), one.user.email) for one in members]
        return [("", "Everyone"), *of_members, (PROGRAMS, "Programs, by API key")]

    @property
    def filters(self) -> list[forms.BoundField]:
        """The fields beside the search."""
        return [self[name] for name in self.FILTERS]

    @property
    def chosen(self) -> dict[str, str]:
        """What the person chose, as in the address, without what changes nothing."""
        return {name: value for name, value in self.data.items() if (name, value) != ("sort", Sort.NEWEST)}

    @property
    def is_filtered(self) -> bool:
        """Whether anything but words was chosen, so that the page shows the filters."""
        return any(name in self.FILTERS for name in self.chosen)

    @property
    def order(self) -> Sort:
        return Sort(self.cleaned_data.get("sort") or Sort.NEWEST)

    def wanted(self, *, statuses: tuple[str, ...]) -> Wanted:
        """Return what was chosen, of a valid form. statuses: chosen beside it."""
        person = self.cleaned_data["person"]
        return Wanted(
            phrases=self.cleaned_data["q"],
            statuses=statuses,
            since=_midnight(self.cleaned_data["since"]),
            until=_midnight(self.cleaned_data["until"], days=1),
            person_id=int(person) if person.isdecimal() else None,
            by_programs=person == PROGRAMS,
            language=self.cleaned_data["language"],
            tag=self.cleaned_data["tag"],
            sort=self.order,
        )

    def query(self, **more: object) -> str:
        """Return the query of an address that shows the same, with more fields of those that are not empty."""
        return urlencode(self.chosen | {name: value for name, value in more.items() if value})

    def clean_q(self) -> list[str]:
        text = self.cleaned_data["q"]
        phrases = search_words.phrases_of(text)
        if text and not phrases:
            raise forms.ValidationError("Enter a word or a number.")
        if len(phrases) > MAX_PHRASES:
            raise forms.ValidationError(f"Enter up to {MAX_PHRASES} words. Put a longer phrase in quotation marks.")
        return phrases

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or {}
        since, until = chosen.get("since"), chosen.get("until")
        if since and until and since > until:
            self.add_error("until", "This is before the first day.")
        return chosen

    def _choose_from(self, name: str, choices: Callable[[], list[tuple[str, str]]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField), "it was declared above"
        field.choices = choices


def _midnight(day: date | None, *, days: int = 0) -> datetime | None:
    return datetime.combine(day, time.min, UTC) + timedelta(days=days) if day else None
