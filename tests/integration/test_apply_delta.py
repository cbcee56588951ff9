"""`starmill data apply-delta`: a model is made of its base and what was published of it, or nothing is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from models.core.errors import UsageError
from producer.weights import apply_delta
from tests.support.command_line import command_line, starmill
from tests.support.encoders import save_as_bin, weights
from tests.support.language_models import tiny_llama, word_tokenizer

EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with command_line(tmp_path, monkeypatch):
        yield tiny_llama(tmp_path / "base")


@pytest.fixture
def tuned(tmp_path: Path, base: Path) -> Path:
    """Another model with a token more."""
    folder = tiny_llama(tmp_path / "tuned", seed=1)
    words = word_tokenizer(pad=True)
    words.save_pretrained(folder)
    model = transformers.LlamaForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(words))
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def delta(tmp_path: Path, base: Path, tuned: Path) -> Path:
    """Make a delta as Stanford did: the new row is a difference to the mean of the base's rows."""
    folder = shutil.copytree(tuned, tmp_path / "delta")
    old, new = weights(base), weights(tuned)
    for name in EMBEDDINGS:
        old[name] = torch.cat([old[name], old[name].mean(dim=0, keepdim=True)])
    save(folder, {name: new[name] - old[name] for name in new})
    return folder


def save(folder: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def run(base: Path, delta: Path, *options: str) -> int:
    return starmill("data", "apply-delta", str(base), str(delta), "-o", "made", *options)


def in_shards(folder: Path) -> None:
    model = transformers.LlamaForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert (folder / "model.safetensors.index.json").is_file()


def as_bin(folder: Path) -> None:
    """With what old versions of transformers saved besides, in two shards."""
    state = weights(folder) | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8)}
    save_as_bin(folder, {})
    (folder / "pytorch_model.bin").unlink()
    names = list(state)
    where = {}
    for number, part in enumerate((names[:5], names[5:]), 1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: state[name] for name in part}, folder / file)
        where |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


@pytest.mark.parametrize("layout", [lambda folder: None, in_shards, as_bin], ids=["one", "shards", "bin"])
def test_the_model_is_the_one_that_was_published(
    layout: Callable[[Path], None], base: Path, delta: Path, tuned: Path, tmp_path: Path
) -> None:
    layout(delta)
    assert run(base, delta) == 0
    made = tmp_path / "made"
    model, loading_info = transformers.LlamaForCausalLM.from_pretrained(made, output_loading_info=True)
    assert not loading_info["missing_keys"]
    assert not loading_info["unexpected_keys"]
    for name, tensor in weights(tuned).items():
        torch.testing.assert_close(model.state_dict()[name], tensor)
    assert len(transformers.AutoTokenizer.from_pretrained(made)) == model.config.vocab_size
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".made")]


def test_a_large_model_is_written_in_shards(base: Path, delta: Path, tuned: Path, tmp_path: Path) -> None:
    apply_delta(base, delta, tmp_path / "made", "float16", shard_bytes=8_000)
    shards = sorted((tmp_path / "made").glob("*.safetensors"))
    assert len(shards) > 2
    written = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    assert {tensor.dtype for tensor in written.values()} == {torch.float16}
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "made")
    torch.testing.assert_close(
        model.state_dict()["lm_head.weight"].float(), weights(tuned)["lm_head.weight"], atol=1e-2, rtol=1e-2
    )


def test_the_sum_of_all_numbers_is_checked(
    base: Path, delta: Path, tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    total = sum(float(tensor.double().sum()) for tensor in weights(tuned).values())
    assert run(base, delta, "--checksum", str(1.01 * total)) == 2
    assert "a file is damaged, or the base is another one; nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
    assert run(base, delta, "--checksum", str(total)) == 0


def without(folder: Path, name: str) -> None:
    state = weights(folder)
    del state[name]
    save(folder, state)


def reshaped(folder: Path, name: str) -> None:
    state = weights(folder)
    state[name] = state[name][:, :-1].contiguous()
    save(folder, state)


def cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def lacking_a_shard(folder: Path) -> None:
    in_shards(folder)
    next(iter(folder.glob("model-00002*"))).unlink()


UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda base, _: shutil.rmtree(base), "base: is not a folder"),
        (lambda base, _: (base / "config.json").unlink(), "config.json: cannot be read"),
        (lambda base, _: (base / "model.safetensors").unlink(), "base: holds no weights"),
        (lambda base, _: without(base, UP), f"base: lacks 1 tensors of .*delta, such as {UP}"),
        (lambda _, delta: without(delta, UP), f"delta: lacks 1 tensors of .*base, such as {UP}"),
        (lambda _, delta: reshaped(delta, UP), rf"delta: {UP} is 64 x 31, in .*base 64 x 32"),
        (lambda _, delta: reshaped(delta, EMBEDDINGS[0]), rf"delta: {EMBEDDINGS[0]} is"),
        (lambda _, delta: cut_off(delta), "cannot be read as weights"),
        (lambda _, delta: lacking_a_shard(delta), "delta: lacks model-00002-of-"),
    ],
)
def test_delta_of_another_model_is_refused_in_one_line(
    spoil: Callable[[Path, Path], object], says: str, base: Path, delta: Path, tmp_path: Path
) -> None:
    spoil(base, delta)
    with pytest.raises(UsageError, match=says) as caught:
        apply_delta(base, delta, tmp_path / "made")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".made")]


def test_existing_model_folder_is_not_overwritten(
    base: Path, delta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "notes.txt").touch()
    assert run(base, delta) == 2
    assert "-o made: is there already; name a new folder" in capsys.readouterr().err
