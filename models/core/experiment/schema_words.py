"""The keys of an experiment in plain words: which there are, where each belongs, and what it takes."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

MAPPING = "a mapping of keys to values"
NAME_WORDS = "a name of up to {} letters, digits, '.', '_' and '-', which begins with a letter or a digit"
PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": NAME_WORDS.format(64),
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$": NAME_WORDS.format(32),
    r"^[A-Za-z_][A-Za-z0-9_]{0,63}$": "a name of up to 64 letters, digits and '_', not first a digit",
    r"^([0-9a-f]{64})?$": "a SHA-256 of 64 hexadecimal digits",
    r"^[a-z]+$": "a word of small letters",
}
SIMPLE = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
# Filled in when a run is planned.
FROZEN = {"recording_sha256"}


@dataclass(frozen=True, slots=True)
class FieldType:
    """A type of what may stand at a key, and the bounds of its values."""

    type: Any
    bounds: tuple[Any, ...] = ()

    @property
    def section(self) -> type[BaseModel] | None:
        """The mapping with fixed keys that this is."""
        return self.type if isinstance(self.type, type) and issubclass(self.type, BaseModel) else None

    def bound(self, name: str) -> Any:
        return next((value for each in self.bounds if (value := getattr(each, name, None)) is not None), None)


def types_of(annotation: Any, bounds: Iterable[Any] = ()) -> list[FieldType]:
    """Return the types that an annotation is a union of, without null."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        fields = [each.metadata if isinstance(each, FieldInfo) else [each] for each in more]
        return types_of(inner, [*bounds, *(each for field in fields for each in field)])
    if get_origin(annotation) in {Union, types.UnionType}:
        return [each for inner in get_args(annotation) for each in types_of(inner, bounds)]
    return [] if annotation is types.NoneType else [FieldType(annotation, tuple(bounds))]


def keys_of(section: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a section by the keys that a file may have."""
    keys: dict[str, FieldInfo] = {}
    for name, field in section.model_fields.items():
        alias = field.validation_alias
        names = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
        keys |= dict.fromkeys(map(str, names), field)
    return {key: field for key, field in keys.items() if key not in FROZEN}


def written_keys(section: type[BaseModel]) -> list[str]:
    """Return the keys of a section, one for each field: that which people write."""
    return list({id(field): key for key, field in reversed(keys_of(section).items())}.values())


def inside(allowed: FieldType, key: Any) -> list[FieldType]:
    """Return what may stand at a key of this, or at a number of a list; nothing if there is no such key."""
    if allowed.section:
        field = keys_of(allowed.section).get(key)
        return types_of(field.annotation, field.metadata) if field else []
    origin, parts = get_origin(allowed.type), get_args(allowed.type)
    if not isinstance(origin, type) or not parts:
        return []
    if issubclass(origin, Mapping):
        return types_of(parts[1]) if key != "[key]" else []
    return types_of(parts[0]) if issubclass(origin, Sequence | frozenset) and isinstance(key, int) else []


def key_types(allowed: FieldType) -> list[FieldType]:
    """Return what the keys of a mapping may be."""
    origin, parts = get_origin(allowed.type), get_args(allowed.type)
    return types_of(parts[0]) if isinstance(origin, type) and issubclass(origin, Mapping) else []


def choices_of(allowed: FieldType) -> tuple[Any, ...]:
    """Return the values that may stand there, if they are few."""
    return get_args(allowed.type) if get_origin(allowed.type) is Literal else ()


def homes(root: type[BaseModel]) -> dict[str, list[str]]:
    """Return the sections, such as `passages.weights`, that have each key; the top is an empty text."""
    sections: dict[str, list[str]] = {}
    for path, section in _sections(FieldType(root), ()):
        for key in keys_of(section):
            known = sections.setdefault(key, [])
            if path not in known:
                known.append(path)
    return sections


def _sections(allowed: FieldType, path: tuple[str, ...]) -> Iterator[tuple[str, type[BaseModel]]]:
    if allowed.section:
        yield ".".join(path), allowed.section
        for key, field in keys_of(allowed.section).items():
            for each in types_of(field.annotation, field.metadata) if key != "task" else ():
                yield from _sections(each, (*path, key))
    elif parts := get_args(allowed.type):
        is_mapping = isinstance(get_origin(allowed.type), type) and issubclass(
            get_origin(allowed.type), Mapping
        )
        for each in types_of(parts[-1]):
            yield from _sections(each, (*path, "NAME") if is_mapping else path)


def wanted(allowed: Sequence[FieldType]) -> str:
    """Return what is taken, such as `a whole number from 1 to 100`; an empty text if it takes all."""
    words = list(dict.fromkeys(_words(each) for each in allowed))
    return one_of(words) if words and all(words) else ""


def one_of(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _words(allowed: FieldType) -> str:
    if choices := choices_of(allowed):
        return one_of([value if isinstance(value, str) else str(value).lower() for value in choices])
    kind = get_origin(allowed.type) or allowed.type
    if not isinstance(kind, type):
        return ""
    if issubclass(kind, BaseModel | Mapping):
        return MAPPING
    if kind in SIMPLE:
        return _bounded(SIMPLE[kind], allowed)
    empty = " that is not empty" if allowed.bound("min_length") else ""
    return f"a list{empty}" if issubclass(kind, Sequence) else ""


def _bounded(words: str, allowed: FieldType) -> str:
    """Add the bounds of a number or text."""
    if pattern := allowed.bound("pattern"):
        return PATTERNS.get(pattern, f"{words} in another form")
    if allowed.bound("min_length"):
        return f"{words} that is not empty"
    low, high = allowed.bound("ge"), allowed.bound("le")
    if low is not None and high is not None:
        return f"{words} from {low} to {high}"
    limits = {"of at least {}": low, "above {}": allowed.bound("gt"), "at most {}": high,
              "below {}": allowed.bound("lt")}  # fmt: skip
    phrases = [phrase.format(limit) for phrase, limit in limits.items() if limit is not None]
    return f"{words} {' and '.join(phrases)}" if phrases else words
