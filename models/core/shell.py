"""Shell commands in a form that is equal for commands that do the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

# Go templates, such as `{{.Names}}` for Docker, are text and no placeholder of a page of commands.
_PLACEHOLDER = re.compile(r"\{\{(?!\s*(?:[.$\"]|range\b|json\b|if\b|end\b|with\b))[^{}]*\}\}")
_TOKEN = re.compile(
    r"""
    (?P<blank> \s+ )
    | (?P<operator> \d* [<>]+ &? | [|&;]+ | [()] )
    | (?P<word> (?: \\. | '[^']*' | "(?: [^"\\] | \\. )*" | [^\s'"\\|&;<>()] )+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_PIECE = re.compile(
    r"""\\(?P<escaped>.) | '(?P<single>[^']*)' | "(?P<double>(?:[^"\\]|\\.)*)" | (?P<bare>.)""",
    re.VERBOSE | re.DOTALL,
)
_EXPANDED, _GLOBBED = "$`", "*?[]~{}#!"
_IN_DOUBLE_QUOTES = re.compile(rf'\\[$`"\\]|[{re.escape(_EXPANDED + _GLOBBED)}]')
_BEGINS_COMMAND = re.compile(r"[|&;(]+")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
# Marks that no command holds: of a character that is taken as it is, of one that expands inside of double
# quotes, of an operator, and a placeholder.
_LITERAL, _QUOTED, _OPERATOR, _ANY = "\x01", "\x02", "\x03", "\x04"
_WRAPPERS = {"sudo", "time", "nohup", "command", "exec"}
_NO_QUOTES = str.maketrans("", "", "\"'`")
_NAME = re.compile(r"[^\s|<>;&()]+")


@dataclass(frozen=True, slots=True)
class _Flags:
    """The flags of a program: letters that take a value, and long names of letters. A number is the value of
    the letter `counts`, as in `head -5`. The first word of a program that `bundles` may lack its hyphen."""

    valued: str = ""
    long: Mapping[str, str] = field(default_factory=dict)
    counts: str = ""
    bundles: bool = False


def _long(names: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in names.split())


# Programs whose flags may stand in any order; POSIX and GNU manuals. Flags of other programs are compared as
# they are written: `find -name` is no set of letters.
_KNOWN: Mapping[str, _Flags] = {
    "cat": _Flags(long=_long("number=n show-all=A squeeze-blank=s")),
    "chmod": _Flags(long=_long("recursive=R verbose=v")),
    "chown": _Flags(long=_long("recursive=R verbose=v")),
    "cp": _Flags("t", _long(
        "archive=a force=f interactive=i recursive=r target-directory=t update=u verbose=v")),
    "curl": _Flags("AbcCdeEFHKmoQrtTuUwxXyYz", _long(
        "data=d fail=f form=F head=I header=H include=i insecure=k location=L output=o remote-name=O "
        "request=X silent=s user=u user-agent=A verbose=v")),
    "cut": _Flags("bcdf", _long("bytes=b characters=c delimiter=d fields=f only-delimited=s")),
    "df": _Flags("t", _long("all=a human-readable=h print-type=T type=t")),
    "du": _Flags("d", _long("all=a human-readable=h max-depth=d summarize=s total=c")),
    "grep": _Flags("eABCmf", _long(
        "after-context=A before-context=B context=C count=c extended-regexp=E files-with-matches=l "
        "fixed-strings=F ignore-case=i invert-match=v line-number=n line-regexp=x max-count=m no-filename=h "
        "only-matching=o perl-regexp=P quiet=q recursive=r regexp=e with-filename=H word-regexp=w")),
    "head": _Flags("nc", _long("lines=n bytes=c quiet=q"), counts="n"),
    "ln": _Flags("", _long("force=f symbolic=s verbose=v")),
    "ls": _Flags("", _long("all=a almost-all=A human-readable=h inode=i recursive=R reverse=r size=s")),
    "mkdir": _Flags("m", _long("mode=m parents=p verbose=v")),
    "mv": _Flags("t", _long("force=f interactive=i no-clobber=n update=u verbose=v target-directory=t")),
    "rm": _Flags("", _long("force=f recursive=r verbose=v dir=d")),
    "sort": _Flags("kto", _long(
        "field-separator=t key=k numeric-sort=n human-numeric-sort=h output=o reverse=r unique=u")),
    "tail": _Flags("nc", _long("bytes=c follow=f lines=n"), counts="n"),
    "tar": _Flags("fCIX", _long(
        "bzip2=j create=c directory=C extract=x file=f get=x gzip=z list=t verbose=v xz=J"), bundles=True),
    "touch": _Flags("dtr", _long("date=d reference=r no-create=c")),
    "uniq": _Flags("fsw", _long("count=c ignore-case=i repeated=d unique=u")),
    "wc": _Flags("", _long("bytes=c chars=m lines=l words=w")),
    "wget": _Flags("OPotU", _long(
        "continue=c directory-prefix=P output-document=O quiet=q recursive=r user-agent=U")),
}  # fmt: skip


def shell_form(command: str) -> str:
    """Return the words and operators of a shell command, in one form for quotes that change nothing.

    Flags of known programs are split, named by their letters and sorted; repeated ones and values count.
    Placeholders such as `{{file}}` are all equal. Raise nothing: a command that cannot be read is returned
    with single blanks.
    """
    words = _words(_PLACEHOLDER.sub(_ANY, command.strip().removeprefix("$ ")))
    if words is None:
        return " ".join(command.split())
    form: list[str] = []
    simple: list[str] = []
    for word in [*words, _OPERATOR]:
        if word.startswith(_OPERATOR) and (word == _OPERATOR or _BEGINS_COMMAND.fullmatch(word[1:])):
            form += [*_simple_form(simple), word]
            simple = []
        else:
            simple.append(word)
    return "\0".join(form[:-1])


def command_name(command: str) -> str:
    """Return the program that a command calls first, "" without one: its first word without quotes, `sudo`
    and the prompt `$`. Placeholders are all equal.

    Answers whose names are equal count for the command accuracy of DocPrompting (Zhou et al., 2023).
    """
    names = (match[0].translate(_NO_QUOTES) for match in _NAME.finditer(_PLACEHOLDER.sub(_ANY, command)))
    return next((name for name in names if name not in {"", "sudo", "$"}), "")


def _words(command: str) -> list[str] | None:
    """Return None if quotes are not closed."""
    words, position = [], 0
    while position < len(command):
        match = _TOKEN.match(command, position)
        if match is None:
            return None
        position = match.end()
        if match["operator"]:
            words.append(_OPERATOR + match["operator"])
        elif match["word"]:
            words.append("".join(_pieces(match["word"])))
    return words


def _pieces(word: str) -> Iterator[str]:
    for piece in _PIECE.finditer(word):
        if piece["bare"]:
            yield piece["bare"]
        elif piece["escaped"]:
            yield _taken_as_it_is(piece["escaped"])
        elif piece["single"] is not None:
            yield "".join(map(_taken_as_it_is, piece["single"])) or _LITERAL
        else:
            yield _IN_DOUBLE_QUOTES.sub(_marked, piece["double"] or "") or _LITERAL


def _taken_as_it_is(char: str) -> str:
    return _LITERAL + char if char in _EXPANDED + _GLOBBED else char


def _marked(match: re.Match[str]) -> str:
    """Mark a character inside of double quotes, where a backslash takes what it is for as it is."""
    char = match[0]
    return _taken_as_it_is(char[1]) if len(char) > 1 else (_QUOTED if char in _EXPANDED else _LITERAL) + char


def _is_before_program(word: str) -> bool:
    return word in _WRAPPERS or bool(_ASSIGNMENT.fullmatch(word))


def _simple_form(words: Sequence[str]) -> list[str]:
    """Return the words of one command without operators that begin another, its known flags sorted."""
    start = next((index for index, word in enumerate(words) if not _is_before_program(word)), len(words))
    known = _KNOWN.get(words[start]) if start < len(words) else None
    if known is None:
        return list(words)
    flags, operands = _split(words[start + 1 :], known)
    return [*words[: start + 1], *sorted(flags), "--", *operands]


def _split(words: Sequence[str], known: _Flags) -> tuple[list[str], list[str]]:
    """Return the flags, each with its value, and the other words."""
    flags: list[str] = []
    operands: list[str] = []
    rest = iter(words)
    if known.bundles and words and words[0].isalpha():
        flags += _letters(next(rest), known, rest)
    for word in rest:
        if word == "--":
            return flags, [*operands, *rest]
        name, has_value, value = word.removeprefix("--").partition("=")
        if word.startswith("--"):
            letter = known.long.get(name)
            if letter is None:
                flags.append(word)
            elif letter in known.valued:
                flags.append(f"-{letter}{value if has_value else next(rest, '')}")
            else:
                flags.append(f"-{letter}{has_value}{value}")
        elif known.counts and re.fullmatch(r"-\d+", word):
            flags.append(f"-{known.counts}{word[1:]}")
        elif len(word) > 1 and word.startswith("-"):
            flags += _letters(word[1:], known, rest)
        else:
            operands.append(word)
    return flags, operands


def _letters(word: str, known: _Flags, rest: Iterator[str]) -> Iterator[str]:
    """Yield each letter of a word of flags. The last may take the rest of the word as its value, or else the
    next word."""
    for index, letter in enumerate(word):
        if letter in known.valued:
            yield f"-{letter}{word[index + 1 :] or next(rest, '')}"
            return
        yield f"-{letter}"
