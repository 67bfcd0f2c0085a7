"""What /docs/ says to customers of other services: what to change, what differs, and code to copy.

The texts are in guide_texts/, a file for each service. The code runs as it stands, once its key is a real one:
tests/whole/test_guides.py runs it against the product.
"""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

TEXTS = Path(__file__).parent / "guide_texts"
SITE = "SITE_URL"
KEY = "YOUR_API_KEY"
ORGANIZATION = "YOUR_ORGANIZATION_ID"


@dataclass(frozen=True, slots=True)
class Guide:
    """One service that a customer may come from.

    address: method and path here. changes: (what, there, here). differences: sentences, code between backticks.
    examples: (language, code), in which SITE and KEY stand for the address of the site and the key.
    receivers: (language, code) of servers that get webhooks in the form of that service.
    """

    slug: str
    origin: str
    address: str
    lead: str
    changes: tuple[tuple[str, str, str], ...]
    differences: tuple[str, ...]
    examples: tuple[tuple[str, str], ...]
    receivers: tuple[tuple[str, str], ...] = ()

    @property
    def marked_differences(self) -> list[list[tuple[str, bool]]]:
        """Return each difference as pieces of text, with whether a piece is code. Code stands between backticks."""
        return [
            [(piece, bool(at % 2)) for at, piece in enumerate(difference.split("`")) if piece]
            for difference in self.differences
        ]

    @property
    def method(self) -> str:
        return self.address.partition(" ")[0]

    @property
    def path(self) -> str:
        return self.address.partition(" ")[2]

    def shown_for(self, *, site_url: str, key: str, organization_id: str = "") -> "Guide":
        """Return the guide with the address of the site, and with the reader's key and organization in its code."""

        def fill(text: str) -> str:
            filled = text.replace(SITE, site_url).replace(KEY, key)
            return filled.replace(ORGANIZATION, organization_id or ORGANIZATION)

        return replace(
            self,
            changes=tuple((what, there, fill(here)) for what, there, here in self.changes),
            examples=tuple((language, fill(code)) for language, code in self.examples),
            receivers=tuple((language, fill(code)) for language, code in self.receivers),
        )


def receivers(*, site_url: str, organization_id: str) -> list[tuple[str, str]]:
    """Return the code of servers that get webhooks: (language, code). organization_id: "" for a reader without one."""
    text = tomllib.loads(Path(__file__).with_name("webhook_receivers.toml").read_text(encoding="utf-8"))
    return [
        (language, code.replace(SITE, site_url).replace(ORGANIZATION, organization_id or ORGANIZATION))
        for language, code in text["examples"].items()
    ]


def _read(slug: str) -> Guide:
    text = tomllib.loads((TEXTS / f"{slug}.toml").read_text(encoding="utf-8"))
    return Guide(
        slug=slug,
        origin=text["origin"],
        address=text["address"],
        lead=text["lead"],
        changes=tuple((what, there, here) for what, there, here in text["changes"]),
        differences=tuple(text["differences"]),
        examples=tuple(text["examples"].items()),
        receivers=tuple(text.get("receivers", {}).items()),
    )


# In the order of the pages.
GUIDES = tuple(_read(slug) for slug in ("openai", "deepgram", "voxnexus", "voxscriber", "transcribeapi", "whisper-asr"))


def named(slug: str) -> Guide | None:
    """Return the guide of this name, None if there is none."""
    return next((one for one in GUIDES if one.slug == slug), None)
