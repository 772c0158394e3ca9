"""The two ways a command ends badly, for errors that a reader can do something about.

An error class of the library takes one of these as a base beside its own. The command line then
knows what to do with it without importing the module it comes from.
"""

from __future__ import annotations


class Refusal(Exception):
    """The input is refused: nothing was run."""


class Failure(Exception):
    """The input was accepted, and the work could not be done."""
