"""The keys of an experiment that are part of a run's identity, and those that may change during a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.core.experiment.key_hosts import OFFICIAL_KEY

# Settings that may change during a run, since results do not depend on them.
MUTABLE_ENGINE = {"max_num_seqs", "gpu_memory_utilization", "tensor_parallel_size", "data_parallel_size",
                  "pipeline_parallel_size", "enforce_eager", "max_loras", "max_lora_rank"}  # fmt: skip
MUTABLE_MODEL: Mapping[str, Any] = {
    **dict.fromkeys(("rpm", "tpm", "max_concurrency", "timeout", "replicas"), True),
    "engine": MUTABLE_ENGINE,
}
MUTABLE_KEYS: Mapping[str, Any] = {
    "budget_usd": True,
    "quality": True,
    "report": True,
    "task": {"prompts": {"export"}},
    "models": {"__all__": MUTABLE_MODEL},
    "teacher": MUTABLE_MODEL,
    "judge": {"model": MUTABLE_MODEL},
    "students": {"__all__": MUTABLE_MODEL},
}

# Keys that came after runs were planned, each with the value that means what was before it.
LATER: Mapping[str, Any] = {"models": {}, "data": None, "split": None, "steps": {}}
LATER_OF_GRID: Mapping[str, Any] = {
    "augment_exemplars": None, "wrong_rationales": None, "train_rows": None, "contrasts": None,
}  # fmt: skip
LATER_OF_AUGMENT: Mapping[str, Any] = {"accept": "requires", "on_failure": "raw"}
LATER_OF_RATIONALE: Mapping[str, Any] = {"hint_leaks": "wrong"}
# A metric that came after task folders were run, and is only shown.
LATER_METRIC = "command_accuracy"
LATER_OF_STEPS: Mapping[str, Any] = {"optional": False}
LATER_OF_MODELS: Mapping[str, Any] = {"headers": {}, "query": {}}
LATER_OF_STUDENTS: Mapping[str, Any] = {**LATER_OF_MODELS, "delivery": "direct"}
LATER_OF_OTHERS: Mapping[str, Any] = {
    **LATER_OF_MODELS,
    "prompt_format": "chat",
    "max_model_len": None,
    "quantization": None,
    "engine": {"tokenizer": "", "dtype": "auto", "trust_remote_code": False, "lora": ""},
}


def drop_later_keys(config: dict[str, Any]) -> None:
    """Drop what says no more than its absence, so that runs planned before a key existed are found."""
    for step in config.get("steps", {}).values():
        _drop(step, LATER_OF_STEPS)
    _drop(config, LATER)
    _drop(config.get("augment") or {}, LATER_OF_AUGMENT)
    _drop(config.get("rationale") or {}, LATER_OF_RATIONALE)
    _drop(config.get("grid") or {}, LATER_OF_GRID)
    if LATER_METRIC in (metrics := (config.get("judge") or {}).get("metrics", [])):
        metrics.remove(LATER_METRIC)
    others = (config.get("teacher"), (config.get("judge") or {}).get("model"))
    for model in (*config.get("models", {}).values(), *(config.get("students") or ()), *others):
        if model and not model["api_key_env"]:  # it was the variable of all models that named none
            model["api_key_env"] = OFFICIAL_KEY
    for student in config.get("students") or ():
        _drop(student, LATER_OF_STUDENTS)
        _drop(student["engine"], {"lora": ""})
    for other in others:
        if other:
            _drop(other, LATER_OF_OTHERS)


def _drop(block: dict[str, Any], later: Mapping[str, Any]) -> None:
    for key, value in later.items():
        if key in block and block[key] == value:
            del block[key]
