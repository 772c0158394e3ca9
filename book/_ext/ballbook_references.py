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
    optional_field,
    sentence,
    tag,
    words,
)
from sphinx.application import Sphinx


class BallbookStyle(UnsrtStyle):
    """Numbered references, sorted by first author, with every field optional."""

    default_sorting_style = "author_year_title"

    def _people(self, entry: Any) -> list[Any]:
        role = "author" if entry.persons.get("author") else "editor"
        return [sentence[self.format_names(role, as_sentence=False)]] if entry.persons else []

    def _doi(self) -> Any:
        return optional[
            href[
                join["https://doi.org/", field("doi", raw=True)],
                join["doi:", field("doi", raw=True)],
            ]
        ]

    def _place(self) -> Any:
        volume = join[
            tag("strong")[field("volume")], optional["(", field("number"), ")"]
        ]
        return words[
            first_of[
                optional[tag("em")[field("journal")]],
                optional[field("howpublished")],
                optional[field("publisher")],
            ],
            join[
                optional_field("year"),
                optional[";", volume],
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
