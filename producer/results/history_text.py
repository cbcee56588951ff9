"""The history of an example as text: wrapped and in colours in a terminal, plain lines in a pipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from models.core.kinds.step import as_text
from models.core.types import JSON
from producer.results.report.samples import printable

STATES = {"done": "green", "failed": "red", "skipped": "yellow"}
YES_NO = {True: "yes", False: "no"}
MIN_SHARED_LINES = 6
SCORES = {"bleu4": "BLEU-4", "char_bleu": "charBLEU", "chrf": "chrF"}


def history_lines(document: JSON, *, wrap: bool) -> Iterator[RenderableType]:
    """Render a document of `producer.results.history`. With `wrap`, long lines keep their indentation."""
    rows = document["rows"]
    if len(rows) > 1 and document["has_id"]:
        places = ", ".join(f"{row['split']} row {row['row']}" for row in rows)
        yield Text(f"{len(rows)} rows have the id {document['question_id']}: {places}")
    for row in rows:
        named = document["has_id"] or not document["steps"]
        question = f", question {document['question_id']}" if named else ""
        title = f"{row['split']} row {row['row']}{question}, run {document['run']}"
        yield Rule(Text(title, "bold"), align="left") if wrap else Text(f"=== {title} ===")
        yield from _HistoryRow(document, row, wrap).lines()


class _HistoryRow:
    """The lines of one row. Prompts of an example begin alike: what was shown is not repeated."""

    def __init__(self, document: JSON, row: JSON, wrap: bool) -> None:
        self.run = document["run"]
        self.rule = document["rule"]
        self.answer_rule = document["answer_rule"] or "exact match"
        self.steps = document["steps"]
        self.row = row
        self.wrap = wrap
        self.prompts: dict[str, list[str]] = {}

    def lines(self) -> Iterator[RenderableType]:
        row = self.row
        given = row["columns"] if self.steps else {name: row[name] for name in ("request", "reference")}
        for name, value in given.items():
            yield from self._block(name, _shown(value))
        if row["oracle"]:
            yield from self._block("right passages", "\n".join(row["oracle"]))
        yield from self._block("in all", _paid(row, calls=row["calls"]))
        if any(unit["stage"] == "judge" and "scores" in unit for unit in row["units"]):
            yield from self._students()
        for unit in row["units"]:
            yield from self._unit(unit)

    def _unit(self, unit: JSON) -> Iterator[RenderableType]:
        yield Text()
        name = " ".join(filter(None, (unit["stage"], unit["variant"])))
        heading = Text(f"{name}, sample {unit['sample']}" if unit["sample"] else name, "bold")
        heading.append(f": {unit['state']}", STATES.get(unit["state"], ""))
        details = [
            unit["reason"],
            f"taken {unit['attempts']} times" if unit["attempts"] > 1 else None,
            f"by {unit['worker']}" if unit["worker"] else None,
            _when(unit["ended"]),
        ]
        heading.append("".join(f", {detail}" for detail in details if detail), "dim")
        yield heading
        if unit["detail"]:
            yield from self._block("detail", unit["detail"])
        for rejected in unit["rejected"]:
            what = f"rejected answer {rejected['attempt'] + 1}: {rejected['reason']}"
            yield from self._call(rejected["call"], what, rejected["detail"])
        # A rejected answer may be the unit's answer too: it is shown once.
        shown = [each["call"]["generation"] for each in unit["rejected"] if each["call"]]
        if unit["call"] and unit["call"]["generation"] not in shown:
            is_verdict = unit["stage"] == "judge" and not self.steps
            yield from self._call(unit["call"], "verdict" if is_verdict else "answer", "")
        if unit["judged"]:
            yield from self._call(unit["judged"], "verdict", "")
        yield from self._result(unit)

    def _call(self, call: JSON | None, what: str, detail: str) -> Iterator[RenderableType]:
        if call is None:
            yield from self._block(what, detail or "(no call)")
            return
        params = "".join(f", {name} {value}" for name, value in sorted(call["params"].items()))
        key = call["generation"][:12]
        bought = "" if call["bought_by"] == self.run else f", bought by {call['bought_by']}"
        seconds = "" if call["seconds"] is None else f", {call['seconds']:.2f} s"
        yield from self._block("call", f"{key} to {call['model']}{params}; {_paid(call)}{seconds}{bought}")
        yield from self._prompt(key, call["prompt"])
        finish = f" ({call['finish_reason']})" if call["finish_reason"] not in {"stop", None} else ""
        text = call["text"] if call["text"] is not None else call["refusal"] or "(null)"
        yield from self._block(what + finish + (f", {detail}" if detail else ""), text)

    def _prompt(self, key: str, prompt: str) -> Iterator[RenderableType]:
        """Show the prompt without the lines that it shares with the beginning of an earlier one."""
        lines = prompt.split("\n")
        shared, other = max(
            ((_shared_lines(lines, shown), call) for call, shown in self.prompts.items()), default=(0, "")
        )
        self.prompts.setdefault(key, lines)
        if shared == len(lines):
            yield from self._block("prompt", f"the same as of {other}")
        elif shared < MIN_SHARED_LINES:
            yield from self._block("prompt", prompt)
        else:
            yield from self._block(f"prompt, after {shared} lines as of {other}", "\n".join(lines[shared:]))

    def _result(self, unit: JSON) -> Iterator[RenderableType]:
        if result := unit.get("result"):
            fields = _step_fields(unit, result) if self.steps else self._result_fields(unit, result)
            for name, value in fields.items():
                if value not in {None, ""}:
                    yield from self._block(name, str(value))
            if unit["stage"] == "retrieve" and not self.steps and result.get("passages"):
                yield _passages(result["passages"])

    def _result_fields(self, unit: JSON, result: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is shown of a result, by label; empty values are not shown."""
        match unit["stage"]:
            case "augment" | "retrieve":
                failed = unit["stage"] == "augment" and unit["reason"]
                return {
                    "augmentation": "failed; the request stays as it is" if failed else None,
                    "query": result.get("query"),
                    "vector": result.get("dimensions"),
                }
            case "grow":
                flaws = Counter(flaw or "whole" for _, _, flaw in result["pairs"])
                pairs = ", ".join(f"{number} {flaw}" for flaw, number in sorted(flaws.items()))
                return {"shown": ", ".join(result["shown"]), "pairs": pairs}
            case "rationale" | "rationalize":
                return {
                    "code": result.get("answer"),
                    "votes": _votes(result.get("votes")),
                    "verdict": self._verdict(unit, bool(result.get("correct")), self.rule),
                    "hint leak": "yes" if result.get("hint_leak") else None,
                    "form": result.get("form"),
                    "execution": _execution(result.get("execution")),
                }
            case "answer":
                exemplars = ", ".join(map(str, result.get("exemplars", ())))
                dropped = {name: n for name, n in (result.get("dropped") or {}).items() if n}
                return {
                    "worked examples": f"train rows {exemplars}" if exemplars else None,
                    "passages": result.get("passages") or None,
                    "no room for": ", ".join(f"{n} {name}" for name, n in dropped.items()),
                    "truncated": "yes" if result.get("truncated") else None,
                }
            case "judge":
                right = bool(result.get("correct", result.get("exact_match")))
                return {
                    "prediction": result.get("prediction"),
                    "verdict": self._verdict(unit, right, self.answer_rule),
                    "execution": _execution(result.get("execution")),
                    "scores": ", ".join(f"{SCORES[name]} {unit['scores'][name]:.2f}" for name in SCORES),
                }
        return {}

    def _verdict(self, unit: JSON, right: bool, rule: str) -> str:
        by_rule = ", ".join(f"{name} {YES_NO[right]}" for name, right in unit["verdicts"].items())
        return f"{'right' if right else 'wrong'} by {rule}; each rule: {by_rule}"

    def _students(self) -> Iterator[RenderableType]:
        table = Table(box=None, pad_edge=False)
        for heading in ("cell", "seed", "exact", *SCORES.values(), "prediction"):
            table.add_column(heading, overflow="fold")
        for unit in self.row["units"]:
            if unit["stage"] == "judge" and "scores" in unit:
                scores = (f"{unit['scores'][name]:.2f}" for name in SCORES)
                exact = YES_NO[bool(unit["result"].get("exact_match"))]
                prediction = " ".join((unit["result"].get("prediction") or "").split())
                row = (unit["variant"], str(unit["sample"]), exact, *scores, printable(prediction))
                table.add_row(*map(Text, row))
        yield Text()
        yield table

    def _block(self, label: str, text: str) -> Iterator[RenderableType]:
        """Show a text of one line beside its label, a longer one below it."""
        parts = printable(text).rstrip("\n").split("\n")
        if len(parts) == 1:
            yield self._indented(Text.assemble((f"{label}: ", "cyan"), parts[0]), 2)
            return
        yield self._indented(Text(label, "cyan"), 2)
        for part in parts:
            yield self._indented(Text(part), 4 if part else 0)

    def _indented(self, text: Text, width: int) -> RenderableType:
        return Padding(text, (0, 0, 0, width)) if self.wrap else Text.assemble(" " * width, text)


def _step_fields(unit: JSON, result: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of the value of a step, if it is an object, and the further fields of its result,
    without what the model wrote, which has been shown."""
    value = result.get("value")
    fields = {**(value if isinstance(value, Mapping) else {"value": value}), **result}
    answer = ((unit["call"] or {}).get("text") or "").strip()
    shown = {name: each for name, each in fields.items() if name != "value" or not isinstance(each, Mapping)}
    return {name: _shown(each) for name, each in shown.items() if each != answer}


def _shown(value: Any) -> str:
    """Return a value as text: a list of objects has a line for each."""
    if isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        return "\n".join(map(as_text, value))
    return as_text(value)


def _passages(passages: list[JSON]) -> RenderableType:
    table = Table(box=None, pad_edge=False)
    for heading in ("  rank", "shown", "right", "score", "passage", "text"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "score" else "left")
    for rank, passage in enumerate(passages, 1):
        scores = passage.get("scores", {})
        # A single part is the score itself.
        parts = "".join(f" {part} {score:.3f}" for part, score in scores.items()) if len(scores) > 1 else ""
        name = f"{passage['name']}{passage['signature']}" or passage["id"]
        table.add_row(*map(Text, (
            f"  {rank}", YES_NO[passage["shown"]], YES_NO[passage["oracle"]],
            f"{passage.get('score', 0.0):.4f}{parts}", name, printable(" ".join(passage["text"].split())),
        )))  # fmt: skip
    return table


def _shared_lines(lines: list[str], others: list[str]) -> int:
    """Count the equal lines that both begin with."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(lines, others, strict=False))))


def _when(time: str | None) -> str | None:
    return f"{time[:19].replace('T', ' ')} UTC" if time else None


def _votes(votes: JSON | None) -> str | None:
    if votes is None:
        return None
    return f"{votes['winner']} of {votes['samples']} samples agree; {votes['groups']} different codes"


def _execution(verdict: JSON | None) -> str | None:
    return " ".join(filter(None, (verdict["outcome"], verdict.get("detail")))) if verdict else None


def _paid(sums: JSON, calls: int | None = None) -> str:
    counted = "" if calls is None else f"{calls} call{'' if calls == 1 else 's'}, "
    dollars = f", ${sums['cost_usd']:.6f}" if sums["cost_usd"] else ""  # free, or without a price
    return f"{counted}{sums['prompt_tokens']:,} + {sums['completion_tokens']:,} tokens{dollars}"
