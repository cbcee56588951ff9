"""Exported rows are what trainers take: a batch of TRL's SFT, and of its DPO, on a tiny random model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.database import Database
from tests.support.command_line import command_line, starmill
from tests.support.language_models import tiny_llama
from tests.support.ledger_data import finish_train, plan_mixed
from tests.support.step_runs import StepRun, end_all, rows
from tests.support.task_folders import conala

# What trainers deprecate among themselves is theirs to mend.
pytestmark = pytest.mark.filterwarnings("default", "ignore:`gradient_checkpointing`:FutureWarning")


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with command_line(tmp_path, monkeypatch) as opened:
        yield opened


def first_batch(style: str, tmp_path: Path) -> tuple[Any, Any]:
    """Return the trainer's first batch of the exported file, by its own tokenizer and chat template."""
    import datasets
    import transformers
    import trl

    rows = datasets.load_dataset("json", data_files=f"{style}.jsonl", split="train", cache_dir="cache")
    folder = tiny_llama(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = "</s>"
    config = trl.SFTConfig(
        output_dir="trained", per_device_train_batch_size=2, max_length=512, use_cpu=True, report_to=[],
        disable_tqdm=True, max_steps=1, save_strategy="no", bf16=False,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    trainer = trl.SFTTrainer(model, config, train_dataset=rows, processing_class=tokenizer)
    return trainer, next(iter(trainer.get_train_dataloader()))


@pytest.mark.parametrize("style", ["raw", "chat"])
def test_trl_trains_on_an_exported_file(db: Database, style: str, tmp_path: Path) -> None:
    """Only the completion is learned, not the prompt; a step changes the model."""
    finish_train(plan_mixed(db, task=conala().model_dump()))
    assert starmill("export", "small", "--style", style, "--shuffle", "1", "-o", f"{style}.jsonl") == 0
    trainer, batch = first_batch(style, tmp_path)
    assert batch["input_ids"].shape[0] == 2
    assert batch["labels"].shape == batch["input_ids"].shape
    learned = (batch["labels"] != -100).sum(axis=1)
    assert all(learned > 0)
    if style == "raw":
        assert all(learned < batch["attention_mask"].sum(axis=1))
    before = trainer.model.lm_head.weight.detach().clone()
    assert trainer.train().training_loss > 0
    assert not trainer.model.lm_head.weight.equal(before)


@pytest.mark.parametrize("pipeline", ["star", "steps"])
def test_trl_trains_on_exported_pairs(db: Database, pipeline: str, tmp_path: Path) -> None:
    """A step changes the model."""
    import datasets
    import transformers
    import trl

    if pipeline == "star":
        finish_train(plan_mixed(db, "steps-1", task=conala().model_dump()))
    else:
        end_all(StepRun.plan(db, rows(4)))
    assert starmill("export", "steps", "--what", "pairs", "-o", "pairs.jsonl") == 0
    pairs = datasets.load_dataset("json", data_files="pairs.jsonl", split="train", cache_dir="cache")
    folder = tiny_llama(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = "</s>"
    config = trl.DPOConfig(
        output_dir="trained", per_device_train_batch_size=2, max_length=512, use_cpu=True, report_to=[],
        disable_tqdm=True, max_steps=1, save_strategy="no", bf16=False,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    trainer = trl.DPOTrainer(model, args=config, train_dataset=pairs, processing_class=tokenizer)
    before = trainer.model.lm_head.weight.detach().clone()
    assert trainer.train().training_loss > 0
    assert not trainer.model.lm_head.weight.equal(before)
