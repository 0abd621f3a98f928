"""What a key of the configuration is: its type, its default, and all that is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from dftindexd.daemon.amounts import DURATION, SIZE

__all__ = ("Duration", "Key", "Note", "Size", "key", "keys_of")

Duration = Annotated[str, Meta(pattern=DURATION, examples=["500ms", "30s", "12h", "30d"])]
Size = Annotated[str, Meta(pattern=SIZE, examples=["512MiB", "100GB"])]


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is besides its type.

    ``option`` of ``dftindexd run``, whose numbers without a unit have the unit ``bare``.
    ``variable``: another variable of the environment. ``live``: a reload puts it into force.
    ``least``: seconds or bytes. ``check`` returns the value in its normal form, or raises
    ``ValueError``.
    """

    kind: Literal["plain", "path", "duration", "size"] = "plain"
    option: str = ""
    metavar: str | None = None
    bare: str = ""
    variable: str = ""
    live: bool = False
    least: float = 0.0
    check: Callable[[Any], Any] | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the tree, such as ``store.retention``."""

    section: str
    name: str
    type: Any
    default: Any
    help: str
    note: Note

    @property
    def path(self) -> str:
        """Its name with that of its table."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The variable of the environment that sets it."""
        return f"DFTINDEXD_{self.section.upper()}__{self.name.upper()}"


def key(text: str, **note: Any) -> Meta:
    """Return what makes a field of a struct a key: its help *text*, and a :class:`Note`."""
    return Meta(description=text, extra={"note": Note(**note)})


def keys_of(section: str, struct: type[msgspec.Struct]) -> Iterator[Key]:
    """Yield the keys of the table *section*, whose struct is *struct*, in their order."""
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        (meta,) = (one for one in hints[field.name].__metadata__ if one.extra)
        default = field.default_factory() if callable(field.default_factory) else field.default
        yield Key(
            section=section,
            name=field.name,
            type=field.type,
            default=default,
            help=meta.description,
            note=meta.extra["note"],
        )
