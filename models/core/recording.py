"""Recorded answers of models. A row is one of three kinds:

    {"request": {"provider", "model", "messages" or "prompt", "params", "draw"}, "text", ...}
    {"stage", "question_id" or "request" or "row": "...", "text", ...}
    {"question_id" or "request" or "row": "...", "prediction"}

All may have `finish_reason`, `refusal`, `reasoning` and `usage` {"prompt", "cached", "completion",
"reasoning", "estimated"}. The first kind is a generation as the ledger stores it; it answers the same request
to any provider. The second kind answers a stage, or a step, of an example: the n-th row of a stage and key
answers the n-th example with that key; `row` is the number of the example in its split, from 0. Where an
example is asked for several times, rows have `sample`, from 0, and for growth `round`, from 1. An answer of
a student may name its cell of the grid, as `cell` or `variant`; without one it answers all cells. The third
kind is a line of `starmill score`, an answer of a student, or of an export of answers, which has `text`, too.
Such files tend to have one line for each id: the last line of a key also answers all later examples with it.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain, product
from typing import Any

from models.core.errors import DatasetError, NotRecorded
from models.core.types import JSON, Completion, Request, Usage

# The split whose examples have the stage, if a row names none. Steps have all; their default is train.
SPLITS = {"augment": "train", "rationale": "train", "rationalize": "train", "answer": "test", "grow": "train"}
STOPPED = "stop"
# These parts of a usage are recorded also if they are 0.
ALWAYS_RECORDED = {"prompt", "cached", "completion"}
# (stage, split or nothing, name of the key, key, round, sample, cell or nothing).
RecordingKey = tuple[str, str, str, str, int, int, str]


@dataclass(frozen=True, slots=True)
class Asker:
    """The unit that asks.

    Its example is number `row` of its split, number `nth_of_id` (all from 0) of those in its split with its
    `question_id`, and number `nth_of_request` of those with its request. `round` and `sample` separate calls
    of growth, `sample` also those of a step and of a student, `cell` those of a student. `in_steps` tells a
    step from a stage of its name.
    """

    stage: str
    split: str
    question_id: str
    request: str
    nth_of_id: int = 0
    nth_of_request: int = 0
    round: int = 1
    sample: int = 0
    row: int | None = None
    cell: str = ""
    in_steps: bool = False

    @property
    def default_split(self) -> str:
        """The split of rows that name none."""
        return "train" if self.in_steps else SPLITS.get(self.stage, "")

    @property
    def samples(self) -> tuple[int, ...]:
        """The samples of rows that may answer: those of a student without a sample answer all seeds."""
        return (self.sample, 0) if self.cell and self.sample else (self.sample,)

    def __str__(self) -> str:
        return f"{self.stage} of {self.question_id}{f' in {self.cell}' if self.cell else ''}"


class Recording:
    """A file of recorded answers. Raises DatasetError with source and line.

    `source` names it in messages, `digest` (hexadecimal) in the provider of answers to a stage, which is
    `prefix` and a line.
    """

    def __init__(self, source: object, digest: str, rows: Iterable[tuple[int, dict[str, Any]]]) -> None:
        self.source = source
        self.digest = digest
        self.prefix = f"recording {digest[:16]}:"
        self._lines: dict[int, Completion] = {}
        # The line that answers a question, by provider.
        self._asked: defaultdict[bytes, dict[str, int]] = defaultdict(dict)
        self._stages: defaultdict[RecordingKey, list[int]] = defaultdict(list)
        self._predictions: set[int] = set()
        for line, row in rows:
            self._add(_RecordedRow(source, line, row))
        if not self._lines:
            raise DatasetError(source, None, "holds no recorded answers")

    @property
    def knows_stages(self) -> bool:
        return bool(self._stages)

    def named(self, request: Request, asker: Asker | None = None) -> Request:
        """Return the request for the ledger, with the recorded provider, or with the line that answers this
        stage of the asker's example. If several providers answered it in different ways, the request's own
        provider decides. Raise NotRecorded if nothing answers it."""
        if lines := self._asked.get(_question(request.body())):
            if request.provider in lines:
                return request
            if len({self._lines[line] for line in lines.values()}) > 1:
                raise NotRecorded(
                    f"{self.source} holds answers of {' and '.join(sorted(lines))} to this request to "
                    f"{request.model}; tell with base_url which is meant"
                )
            return replace(request, provider=next(iter(lines)))
        if asker and (line := self._stage_line(asker)) is not None:
            return replace(request, provider=f"{self.prefix}{line}")
        raise NotRecorded(
            f"{self.source} holds no answer to this request to {request.model} ({asker or 'a common call'}); "
            "a recording of an earlier release may need `identity: row` in the experiment"
        )

    def answer(self, request: Request) -> Completion:
        """Return the answer to a request that `named` returned. Raise NotRecorded if there is none."""
        line = request.provider.removeprefix(self.prefix)
        if line != request.provider:
            return self._lines[int(line)]
        lines = self._asked.get(_question(request.body()), {})
        if request.provider not in lines:
            raise NotRecorded(f"{self.source} holds no answer to this request to {request.model}")
        return self._lines[lines[request.provider]]

    def _stage_line(self, asker: Asker) -> int | None:
        keys = [
            ("question_id", asker.question_id, asker.nth_of_id),
            ("request", asker.request, asker.nth_of_request),
            *([] if asker.row is None else [("row", str(asker.row), 0)]),
        ]
        splits = (asker.split, "") if asker.split == asker.default_split else (asker.split,)
        for cell, sample in product((asker.cell, ""), asker.samples):
            for name, key, nth in keys:
                fitting = ((asker.stage, split, name, key, asker.round, sample, cell) for split in splits)
                lines = sorted(chain.from_iterable(self._stages.get(each, ()) for each in fitting))
                if nth < len(lines):
                    return lines[nth]
                if lines and lines[-1] in self._predictions:
                    return lines[-1]
        return None

    def _add(self, row: _RecordedRow) -> None:
        self._lines[row.line] = row.completion()
        if not isinstance(row.values.get("request"), dict):
            self._stages[row.key()].append(row.line)
            if row.is_prediction:
                self._predictions.add(row.line)
            return
        request = row.request()
        before = self._asked[_question(request)].setdefault(request["provider"], row.line)
        if self._lines[before] != self._lines[row.line]:
            raise row.error(f"answers the request of line {before} in another way; leave one of them out")


class CellRecordings:
    """The recordings of a student by the name of the cell that each answers.

    `source` names them in messages. `digest` (hexadecimal) depends on all of them.
    """

    knows_stages = True

    def __init__(self, source: object, recordings: Mapping[str, Recording]) -> None:
        self.source = source
        self._of_cell = recordings
        self._of_prefix = {each.prefix: each for each in recordings.values()}
        digests = sorted((cell, each.digest) for cell, each in recordings.items())
        self.digest = hashlib.sha256(json.dumps(digests).encode()).hexdigest()

    def named(self, request: Request, asker: Asker | None = None) -> Request:
        """Return the request with the line that answers the cell of the asker. Raise NotRecorded."""
        if asker is None or asker.cell not in self._of_cell:
            whose = asker.cell if asker else "a common call"
            raise NotRecorded(f"{self.source} holds no recording of {whose}")
        return self._of_cell[asker.cell].named(request, asker)

    def answer(self, request: Request) -> Completion:
        """Return the answer to a request that `named` returned. Raise NotRecorded if there is none."""
        prefix, colon, _ = request.provider.rpartition(":")
        if recording := self._of_prefix.get(prefix + colon):
            return recording.answer(request)
        raise NotRecorded(f"{self.source} holds no answer to this request to {request.model}")


Recorded = Recording | CellRecordings


@dataclass(frozen=True, slots=True)
class _RecordedRow:
    source: object
    line: int
    values: dict[str, Any]

    def error(self, problem: str) -> DatasetError:
        return DatasetError(self.source, self.line, problem)

    @property
    def is_prediction(self) -> bool:
        """True for a line of `starmill score`."""
        has_request = isinstance(self.values.get("request"), dict)
        return "prediction" in self.values and "stage" not in self.values and not has_request

    def completion(self) -> Completion:
        if "text" not in self.values and not self.is_prediction:
            raise self.error(f"has no 'text'; its keys are {', '.join(self.values) or 'none'}")
        text = self._text("text")
        if self.is_prediction and "text" not in self.values:
            # Null is no answer there, and an answer without code here.
            text = self._text("prediction") or ""
        return Completion(
            text,
            self._text("finish_reason") or STOPPED,
            self._usage(),
            self._text("refusal"),
            self._text("reasoning"),
        )

    def request(self) -> JSON:
        """Return the body of the recorded request."""
        body: JSON = self.values["request"]
        try:
            return Request.from_body({"provider": "", **body}).body()
        except (LookupError, TypeError, ValueError, AttributeError):
            raise self.error("'request' needs model, messages or prompt, params and draw "
                             "(two numbers), as the ledger stores them") from None  # fmt: skip

    def key(self) -> RecordingKey:
        """Return the key of the examples that the row answers."""
        stage = "answer" if self.is_prediction else self._text("stage")
        if not stage:
            raise self.error(
                "needs a 'request' as the ledger stores it, the name of a 'stage' or step, or a 'prediction'"
            )
        split = self._text("split") or ""
        if split not in ("", "train", "test"):
            raise self.error(f"'split' must be train or test, found {split}")
        for name in ("question_id", "request", "row"):
            value = self.values.get(name)
            if isinstance(value, str if name == "request" else str | int) and not isinstance(value, bool):
                return (stage, split, name, str(value), *self._call(), self._cell())
        raise self.error("needs a 'question_id' or a 'request', a text, or a 'row', a number")

    def _call(self) -> tuple[int, int]:
        """Return round and sample."""
        number, sample = self.values.get("round", 1), self.values.get("sample", 0)
        if not (type(number) is int and number >= 1 and type(sample) is int and sample >= 0):
            raise self.error("'round' must be a whole number from 1, and 'sample' one from 0")
        return number, sample

    def _cell(self) -> str:
        return self._text("cell") or self._text("variant") or ""

    def _text(self, name: str) -> str | None:
        value = self.values.get(name)
        if not isinstance(value, str | None):
            raise self.error(f"{name!r} must be a text, found {type(value).__name__}")
        return value

    def _usage(self) -> Usage:
        usage = self.values.get("usage") or {}
        names = {"prompt", "cached", "completion", "reasoning"}
        tokens = dict(usage) if isinstance(usage, dict) else {"": usage}
        estimated = tokens.pop("estimated", False) is True
        if not (tokens.keys() <= names and all(type(n) is int and n >= 0 for n in tokens.values())):
            raise self.error(f"'usage' must give numbers of tokens for {', '.join(sorted(names))}")
        return Usage(**tokens, estimated=estimated)


def recorded_row(request: JSON, completion: Completion) -> JSON:
    """Return a row of the first kind. `request` is the body of a request."""
    usage = {
        name: value for name, value in asdict(completion.usage).items() if value or name in ALWAYS_RECORDED
    }
    row: JSON = {
        "request": request,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "refusal": completion.refusal,
        "usage": usage,
    }
    return row | ({"reasoning": completion.reasoning} if completion.reasoning else {})


def _question(body: JSON) -> bytes:
    """Return a hash of the request without its provider."""
    question = {name: value for name, value in body.items() if name != "provider"}
    text = json.dumps(question, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
