"""Format references in the journals' numbered style, leaving out what was not read.

Many of the book's sources were read as abstracts or index pages, so a title, author or year may
be missing. The stock styles refuse such an entry; this one prints what there is.
"""

from __future__ import annotations

from typing import Any

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
from sphinx.application import Sphinx


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


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the style known as ``bibtex_default_style = "ballbook"``."""
    register_plugin("pybtex.style.formatting", "ballbook", BallbookStyle, force=True)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
