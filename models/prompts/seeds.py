"""The seeds that ship with Starmill: what a teacher is shown before it has written anything itself."""

from __future__ import annotations

from models.types import Exemplar, Passage

AUGMENTATION_SEEDS: tuple[tuple[str, str], ...] = (
    (
        "sort list `people` of dicts by key 'age'",
        "This requires sorting the list `people` with a key function that takes the value of 'age' "
        "from each dict.",
    ),
    (
        "write the strings of list `notes` to file 'out.txt', one a line",
        "This requires opening the file 'out.txt' for writing and writing each string of `notes` to it, "
        "followed by a newline.",
    ),
    (
        "find the words of string `text` that start with a capital letter",
        "This requires matching a regular expression for a capital letter and the letters after it "
        "against `text`, and collecting every match.",
    ),
)

RATIONALE_SEEDS: tuple[Exemplar, ...] = (
    Exemplar(
        request="count the distinct words in string `text`",
        answer="len(set(text.split()))",
        rationale="text.split() splits `text` at whitespace into a list of its words. "
        "set(text.split()) keeps each of these words once. "
        "len(set(text.split())) counts the words that are left. "
        "The answer is len(set(text.split()))",
        passages=(
            Passage(
                "str.split",
                "str.split",
                "(sep=None, maxsplit=-1)",
                "Return a list of the words in the string, using sep as the delimiter.",
            ),
            Passage("len", "len", "(s)", "Return the number of items of an object."),
        ),
    ),
    Exemplar(
        request="sort list `people` of dicts by key 'age'",
        answer="sorted(people, key=lambda person: person['age'])",
        rationale="lambda person: person['age'] is a function that takes a dict and returns its value of "
        "'age'. sorted(people, key=lambda person: person['age']) returns the dicts of `people` as a new "
        "list, ordered by these values. The answer is sorted(people, key=lambda person: person['age'])",
        passages=(
            Passage(
                "sorted",
                "sorted",
                "(iterable, /, *, key=None, reverse=False)",
                "Return a new sorted list from the items in iterable.",
            ),
        ),
    ),
    Exemplar(
        request="list all '.csv' files below directory `root`",
        answer="list(Path(root).rglob('*.csv'))",
        rationale="Path(root) makes a path object of `root`. Path(root).rglob('*.csv') yields every path "
        "below it whose name ends with '.csv'. list(Path(root).rglob('*.csv')) collects these paths in a "
        "list. The answer is list(Path(root).rglob('*.csv'))",
        passages=(
            Passage(
                "pathlib.Path.rglob",
                "pathlib.Path.rglob",
                "(pattern)",
                "Yield all files below this path, at any depth, that match the relative pattern.",
            ),
            Passage("list", "list", "(iterable=(), /)", "Make a list of the items of iterable."),
        ),
    ),
    Exemplar(
        request="get the seconds between datetime `start` and datetime `end`",
        answer="(end - start).total_seconds()",
        rationale="end - start subtracts two datetimes and gives a timedelta, the time between them. "
        "(end - start).total_seconds() returns that time in seconds. "
        "The answer is (end - start).total_seconds()",
        passages=(
            Passage(
                "datetime.timedelta.total_seconds",
                "datetime.timedelta.total_seconds",
                "()",
                "Return the total number of seconds contained in the duration.",
            ),
        ),
    ),
)
