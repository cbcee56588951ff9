"""Rules by which the test server answers or refuses prompts of a test's own, from a JSON file.

    {"match": "Draft: (.*)", "reply": ["one of these for \\1", "..."]}
    {"match": "Draft: q5", "seed": 7, "refuse": "no such topic"}          400 if the body has this seed
    {"match": "(?m)^1\\. Tag", "each": "tag of {}", "without": 3}         a numbered reply without item 3

The first rule that fits a prompt counts; which reply it is follows from the prompt and the seed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.openai_server.answers import ITEM, Answers

Rule = Mapping[str, Any]


class RuledAnswers(Answers):
    """Answers by rules; what fits none is answered as always."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__()
        self._rules = rules

    @classmethod
    def read(cls, path: Path) -> RuledAnswers:
        return cls(json.loads(path.read_text("utf-8")))

    def answer(self, text: str, salt: str = "") -> str:
        rule = self._rule(text, salt)
        if rule is None:
            return super().answer(text, salt)
        if "each" in rule:
            items = [item for item in ITEM.findall(text) if int(item[0]) != rule.get("without")]
            return "\n".join(f"{number}. {rule['each'].format(item)}" for number, item in items)
        replies = [rule["reply"]] if isinstance(rule["reply"], str) else rule["reply"]
        number = int(hashlib.sha256((text + salt).encode()).hexdigest(), 16)
        fits = re.search(rule["match"], text)
        assert fits
        return fits.expand(replies[number % len(replies)]).replace("{salt}", salt)

    def refusal(self, body: Mapping[str, Any], text: str) -> str:
        """Return why a call is refused, or an empty text."""
        rule = self._rule(text, str(body.get("seed", "")))
        return str(rule.get("refuse", "")) if rule else ""

    def _rule(self, text: str, salt: str) -> Rule | None:
        return next(
            (
                rule
                for rule in self._rules
                if re.search(rule["match"], text) and str(rule.get("seed", salt)) == salt
            ),
            None,
        )
