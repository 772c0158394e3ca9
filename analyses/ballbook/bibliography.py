"""The book's references: short and full forms, and their style in the journals' numbered manner.

Many of the book's sources were read as abstracts or index pages, so a title, author or year may
be missing. The stock styles refuse such an entry; this one prints what there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from pybtex.backends.plaintext import Backend
from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style as UnsrtStyle
from pybtex.style.template import (
    field,
    first_of,
    href,
    join,
    optional,
    sentence,
    tag,
    words,
)

from ballbook import paths


def vancouver(person: Any) -> str:
    """Return a name as journals of medicine print it: family name, initials without stops."""
    family = " ".join(str(part) for part in person.rich_prelast_names + person.rich_last_names)
    given = person.rich_first_names + person.rich_middle_names
    initials = "".join(str(part)[0] for part in given)
    return f"{family} {initials}".strip()


class BallbookStyle(UnsrtStyle):
    """Numbered references, sorted by first author, with every field optional."""

    default_sorting_style = "author_year_title"

    def _people(self, entry: Any) -> list[Any]:
        people = entry.persons.get("author") or entry.persons.get("editor") or []
        if not people:
            return []
        names = [vancouver(person) for person in people]
        if names[-1] == "others":
            names[-1] = "et al"
        return [sentence[", ".join(names)]]

    def _doi(self) -> Any:
        return optional[
            href[
                join["https://doi.org/", field("doi", raw=True)],
                join["doi:", field("doi", raw=True)],
            ]
        ]

    def _place(self) -> Any:
        volume = join[tag("strong")[field("volume")], optional["(", field("number"), ")"]]
        return words[
            first_of[
                optional[tag("em")[field("journal")]],
                optional[field("howpublished")],
                optional[field("publisher")],
            ],
            join[
                first_of[optional[field("year"), optional[";", volume]], optional[volume]],
                optional[":", field("pages")],
            ],
        ]

    def _entry(self, entry: Any) -> Any:
        return join(sep=" ")[
            [
                *self._people(entry),
                optional[sentence[field("title")]],
                sentence[self._place()],
                optional[sentence[field("note")]],
                self._doi(),
            ]
        ]

    def get_article_template(self, entry: Any) -> Any:
        """Return the template of a paper."""
        return self._entry(entry)

    get_misc_template = get_article_template
    get_book_template = get_article_template
    get_inproceedings_template = get_article_template


@cache
def _library() -> Any:
    from pybtex.database import BibliographyData, parse_file

    file = paths.book() / "references.bib"
    return parse_file(str(file)) if file.is_file() else BibliographyData()


@cache
def short() -> dict[str, str]:
    """Return short forms of the book's references by key: first author and year."""
    found = {}
    for key, entry in _library().entries.items():
        people = entry.persons.get("author", [])
        name = entry.fields.get("organization", entry.fields.get("title", key))
        if people:
            name = " ".join(people[0].prelast_names + people[0].last_names)
        others = " et al." if len(people) > 1 else ""
        found[key] = f"{name}{others} {entry.fields.get('year', '')}".strip()
    return {k: re.sub("[{}]", "", v) for k, v in found.items()}


def full(keys: Iterable[str]) -> list[str]:
    """Return the references `keys` in full, as plain text, in the order given.

    Raises
    ------
    KeyError
        If a key is not in ``book/references.bib``.
    """
    entries = _library().entries
    wanted = [(key, entries[key]) for key in keys]
    style, plain = BallbookStyle(), Backend()
    return [
        style.format_entry(str(i), entry).text.render(plain) for i, (_, entry) in enumerate(wanted)
    ]


def setup(app: Any) -> dict[str, Any]:
    """Make the style known to Sphinx as ``bibtex_default_style = "ballbook"``."""
    register_plugin("pybtex.style.formatting", "ballbook", BallbookStyle, force=True)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
