"""Recorded answers of models. A row is one of two kinds:

    {"request": {"provider", "model", "messages" or "prompt", "params", "draw"}, "text", ...}
    {"stage", "question_id" or "request": "...", "text", ...}

Both may have `finish_reason`, `refusal`, `reasoning` and `usage` {"prompt", "cached", "completion",
"reasoning", "estimated"}. The first kind is a generation as the ledger stores it; it answers the same request
to any provider. The second kind answers a stage of an example: the n-th row of a stage and key answers the
n-th example with that key. Growth asks for an example several times: rows of the stage grow may have `round`,
from 1, and `sample`, from 0.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from models.core.errors import DatasetError, NotRecorded
from models.core.types import JSON, Completion, Request, Usage

# The split whose examples have the stage. An augmentation of a test example names its split.
SPLITS = {"augment": "train", "rationale": "train", "rationalize": "train", "answer": "test", "grow": "train"}
STOPPED = "stop"
# These parts of a usage are recorded also if they are 0.
ALWAYS_RECORDED = {"prompt", "cached", "completion"}
# (stage, split, name of the key, key, round, sample). Round and sample are FIRST except for the stage grow.
RecordingKey = tuple[str, str, str, str, int, int]
FIRST = (1, 0)


@dataclass(frozen=True, slots=True)
class Asker:
    """The unit that asks.

    Its example is number `nth_of_id` (from 0) of those in its split with its `question_id`, and number
    `nth_of_request` of those with its request. `round` and `sample` separate calls of growth.
    """

    stage: str
    split: str
    question_id: str
    request: str
    nth_of_id: int = 0
    nth_of_request: int = 0
    round: int = 1
    sample: int = 0


class Recording:
    """A file of recorded answers. Raises DatasetError with source and line.

    `source` names it in messages, `digest` (hexadecimal) in the provider of answers to a stage.
    """

    def __init__(self, source: object, digest: str, rows: Iterable[tuple[int, dict[str, Any]]]) -> None:
        self.source = source
        self.digest = digest
        self._prefix = f"recording {digest[:16]}:"
        self._lines: dict[int, Completion] = {}
        # The line that answers a question, by provider.
        self._asked: defaultdict[bytes, dict[str, int]] = defaultdict(dict)
        self._stages: defaultdict[RecordingKey, list[int]] = defaultdict(list)
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
            return replace(request, provider=f"{self._prefix}{line}")
        whose = f"{asker.stage} of {asker.question_id}" if asker else "a common call"
        raise NotRecorded(
            f"{self.source} holds no answer to this request to {request.model} ({whose}); a recording of an "
            "earlier release may need `identity: row` in the experiment"
        )

    def answer(self, request: Request) -> Completion:
        """Return the answer to a request that `named` returned. Raise NotRecorded if there is none."""
        line = request.provider.removeprefix(self._prefix)
        if line != request.provider:
            return self._lines[int(line)]
        lines = self._asked.get(_question(request.body()), {})
        if request.provider not in lines:
            raise NotRecorded(f"{self.source} holds no answer to this request to {request.model}")
        return self._lines[lines[request.provider]]

    def _stage_line(self, asker: Asker) -> int | None:
        keys = (("question_id", asker.question_id, asker.nth_of_id),
                ("request", asker.request, asker.nth_of_request))  # fmt: skip
        for name, key, nth in keys:
            lines = self._stages.get((asker.stage, asker.split, name, key, asker.round, asker.sample), [])
            if nth < len(lines):
                return lines[nth]
        return None

    def _add(self, row: _RecordedRow) -> None:
        self._lines[row.line] = row.completion()
        if not isinstance(row.values.get("request"), dict):
            self._stages[row.key()].append(row.line)
            return
        request = row.request()
        before = self._asked[_question(request)].setdefault(request["provider"], row.line)
        if self._lines[before] != self._lines[row.line]:
            raise row.error(f"answers the request of line {before} in another way; leave one of them out")


@dataclass(frozen=True, slots=True)
class _RecordedRow:
    source: object
    line: int
    values: dict[str, Any]

    def error(self, problem: str) -> DatasetError:
        return DatasetError(self.source, self.line, problem)

    def completion(self) -> Completion:
        if "text" not in self.values:
            raise self.error(f"has no 'text'; its keys are {', '.join(self.values) or 'none'}")
        return Completion(
            self._text("text"),
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
        stage = self._text("stage") or ""
        if stage not in SPLITS:
            raise self.error(f"needs a 'request' as the ledger stores it, or a 'stage': {', '.join(SPLITS)}")
        split = self._text("split") or SPLITS[stage]
        if split not in (("train", "test") if stage == "augment" else (SPLITS[stage],)):
            raise self.error(f"'split' of stage {stage} cannot be {split}")
        for name in ("question_id", "request"):
            value = self.values.get(name)
            if isinstance(value, str) or (name == "question_id" and type(value) is int):
                return (stage, split, name, str(value), *(self._growth_call() if stage == "grow" else FIRST))
        raise self.error("needs a 'question_id' or a 'request', a text")

    def _growth_call(self) -> tuple[int, int]:
        """Return round and sample."""
        number, sample = self.values.get("round", 1), self.values.get("sample", 0)
        if not (type(number) is int and number >= 1 and type(sample) is int and sample >= 0):
            raise self.error("'round' must be a whole number from 1, and 'sample' one from 0")
        return number, sample

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
