"""Forms in which answers are compared: the same text for what means the same. Raises nothing."""

from __future__ import annotations

import re
import shlex
import string

_FLAGS = re.compile(r"-[A-Za-z]+")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))
# What is between double quotes is not the same as between single ones where it is expanded.
_EXPANDED = re.compile(r"[$`]")


def shell_form(command: str) -> str:
    """Words and operators of a shell command, less quotes that change nothing; short flags that stand
    together one by one and in order (`ls -la`, `ls -a -l`)."""
    words = _words(command)
    if words is None:
        return " ".join(command.split())
    form: list[str] = []
    flags: set[str] = set()
    for word in [*words, ""]:
        if _FLAGS.fullmatch(word):
            flags.update(word[1:])
            continue
        form += [f"-{letter}" for letter in sorted(flags)]
        flags.clear()
        form.append(word)
    return "\0".join(form[:-1])


def text_form(text: str) -> str:
    """Words in lower case, less punctuation and articles, as SQuAD compares them (Rajpurkar et al., 2016)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def _words(command: str) -> list[str] | None:
    """None where quotes are not closed."""
    lexer = shlex.shlex(command.strip().removeprefix("$ "), posix=not _EXPANDED.search(command),
                        punctuation_chars=True)  # fmt: skip
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return None
