"""Every encoder: the packaged one, a BERT folder, CodeT5's layout, and ONNX graphs of 32 and 8 bits."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from models.adapters.encoders import open_encoder
from models.adapters.encoders.checkpoint import find_checkpoint, find_weights
from models.adapters.encoders.encoder import Encoder, passage_text
from models.adapters.encoders.graph_cache import cached_graph
from models.adapters.encoders.onnx_encoder import export_onnx
from models.adapters.encoders.transformers_encoder import TransformersEncoder
from models.core.errors import ServiceError
from models.core.types import Passage
from tests.conftest import REPOSITORY
from tests.support.encoders import save_as_bin, tiny_bert, tiny_codet5, weights

KINDS = ["minilm", "bert", "codet5", "onnx", "int8", "codet5-int8"]
NEAR = 0.995
TEXTS = ["", "sort the list", "get the largest number of a list in python", "join " * 5_000, *["😀"] * 36]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders that `passages.encoder` may name, by kind; the packaged encoder has none."""
    root = tmp_path_factory.mktemp("encoders")
    folders = {"bert": tiny_bert(root / "bert"), "codet5": tiny_codet5(root / "codet5")}
    for kind, source in {"onnx": "bert", "int8": "bert", "codet5-int8": "codet5"}.items():
        folders[kind] = root / kind
        folders[kind].mkdir()
        export_onnx(find_checkpoint(str(folders[source])), folders[kind], quantize=kind.endswith("int8"))
    return folders


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def encoder(kind: str, folders: dict[str, Path]) -> Encoder:
    return open_encoder(str(folders.get(kind, kind)), threads=2)


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A folder in CodeT5's layout that a test may damage."""
    return shutil.copytree(folders["codet5"], tmp_path / "codet5")


def test_onnx_export_restores_log_levels(
    folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("root", "torch.onnx"):
        caplog.set_level(logging.WARNING, name)
    export_onnx(find_checkpoint(str(folders["codet5"])), tmp_path)
    assert logging.getLogger().level == logging.getLogger("torch.onnx").level == logging.WARNING


def test_vectors_are_of_unit_length_whatever_the_batch(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (40, encoder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_vector_does_not_depend_on_the_batch(encoder: Encoder) -> None:
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS[:4]])
    np.testing.assert_allclose(together[:4], alone, atol=1e-5)


def test_different_texts_have_different_vectors(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS[:3])
    assert (vectors @ vectors.T)[np.triu_indices(3, 1)].max() < 1 - 1e-4


def test_threads_may_share_an_encoder(encoder: Encoder) -> None:
    expected = encoder.encode(TEXTS[1:3])
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(lambda _: encoder.encode(TEXTS[1:3]), range(8)):
            np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_text_beyond_the_limit_does_not_change_the_vector(encoder: Encoder) -> None:
    long = "sort " * 2_000
    np.testing.assert_allclose(*encoder.encode([long, long + "the largest"]), atol=1e-5)


def test_encoder_words_passages(kind: str, encoder: Encoder) -> None:
    passage = Passage("i", "str.join()", "join(a)", "Join.", "python")
    name = "str join" if kind.startswith("codet5") else "str.join()"
    assert passage_text(passage, encoder.template) == f"python {name}: Join."


def test_fingerprints_differ(folders: dict[str, Path]) -> None:
    fingerprints = {find_checkpoint(str(folders.get(kind, kind))).fingerprint for kind in KINDS}
    assert len(fingerprints) == len(KINDS)


def test_bert_folder_gives_what_transformers_computes(folders: dict[str, Path]) -> None:
    text = "get the largest number of a list in python"
    tokens = transformers.AutoTokenizer.from_pretrained(folders["bert"])(text, return_tensors="pt")
    model = transformers.AutoModel.from_pretrained(folders["bert"]).eval()
    with torch.inference_mode():
        expected = model(**tokens).last_hidden_state[0].mean(dim=0).numpy()
    [vector] = open_encoder(str(folders["bert"])).encode([text])
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_codet5_layout_gives_what_transformers_computes(copy: Path, normalize: bool) -> None:
    """The mean of T5's last states over the tokens of a text, as DocPrompting's retriever takes it."""
    (copy / "starmill.json").write_text(json.dumps({"normalize": normalize}))
    text = "sort the list"
    tokens = transformers.RobertaTokenizer.from_pretrained(copy)(text, return_tensors="pt")
    assert len(tokens["input_ids"][0]) > 3
    model = transformers.T5EncoderModel(transformers.T5Config.from_pretrained(copy))
    model.load_state_dict(weights(copy), strict=False)
    with torch.inference_mode():
        expected = model.eval()(**tokens).last_hidden_state[0].mean(dim=0).numpy()
    if normalize:
        expected = expected / np.linalg.norm(expected)
    [_, vector] = open_encoder(str(copy)).encode(["a longer text beside it: " + text, text])
    np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_onnx_gives_what_torch_gives(folders: dict[str, Path]) -> None:
    whole, exported, small = (open_encoder(str(folders[kind])) for kind in ("bert", "onnx", "int8"))
    np.testing.assert_allclose(exported.encode(TEXTS), whole.encode(TEXTS), atol=1e-5)
    assert (small.encode(TEXTS) * whole.encode(TEXTS)).sum(axis=1).min() > 0.98


def test_packaged_encoder_is_near_its_32_bits() -> None:
    whole = TransformersEncoder(find_weights("minilm"), 2).encode(TEXTS[:4])
    near = (open_encoder("minilm", 2).encode(TEXTS[:4]) * whole).sum(axis=1)
    # An empty text has three tokens, whose rounding nothing averages; how processors round differs.
    assert near[TEXTS[:4].index("")] > 0.99
    assert sorted(near)[1] > NEAR
    assert find_weights("minilm").fingerprint != find_checkpoint("minilm").fingerprint


def test_packaged_graph_is_written_once_by_two_processes(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    code = "from models.adapters.encoders import open_encoder as it; print(it('minilm').encode(['a'])[0, :9])"
    command = [sys.executable, "-c", code]
    started = [
        subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE) for _ in range(2)
    ]
    said = [process.communicate()[0] for process in started]
    [graph] = (tmp_path / "starmill" / "encoders").iterdir()
    assert said[0] == said[1] != b""
    before = graph.stat()
    subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, check=True)
    assert graph.stat().st_mtime_ns == before.st_mtime_ns


def test_damaged_graph_of_the_package_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    graph = cached_graph(find_checkpoint("minilm"))
    assert isinstance(graph, Path)
    whole = graph.read_bytes()
    graph.write_bytes(whole[:1000])
    open_encoder("minilm")
    assert graph.read_bytes() == whole


def test_packaged_encoder_needs_no_writable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert open_encoder("minilm").encode(["a list"]).shape == (1, 384)


@pytest.mark.parametrize("kind", ["minilm", "int8"])
def test_onnx_runs_without_torch(folders: dict[str, Path], kind: str) -> None:
    code = (
        "import sys; from models.adapters.encoders import open_encoder; "
        f"open_encoder({str(folders.get(kind, kind))!r}).encode(['a list']); "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_onnx_file_may_lie_below_its_tokenizer(folders: dict[str, Path], tmp_path: Path) -> None:
    """sentence-transformers publishes `onnx/model_qint8_avx2.onnx` beside the weights for torch."""
    shutil.copytree(folders["bert"], tmp_path, dirs_exist_ok=True)
    (tmp_path / "onnx").mkdir()
    file = shutil.copy(folders["int8"] / "model.onnx", tmp_path / "onnx" / "model_qint8.onnx")
    assert find_checkpoint(str(tmp_path)).kind == "transformers"
    assert find_checkpoint(str(file)).kind == "onnx"
    vectors = open_encoder(str(file)).encode(TEXTS[:3])
    np.testing.assert_allclose(vectors, open_encoder(str(folders["int8"])).encode(TEXTS[:3]), atol=1e-6)


def test_weights_under_a_prefix_are_refused(copy: Path) -> None:
    save_as_bin(copy, {f"_model.{key}": value for key, value in weights(copy).items()})
    with pytest.raises(ServiceError, match=r"lacks \d+ weights .* it has _model\.\S+ instead") as refused:
        open_encoder(str(copy))
    assert "\n" not in str(refused.value)


def test_missing_weights_are_refused(copy: Path) -> None:
    state = weights(copy)
    lost = "encoder.block.1.layer.0.SelfAttention.q.weight"
    save_as_bin(copy, {key: value for key, value in state.items() if key != lost})
    with pytest.raises(ServiceError, match=rf"lacks 1 weights of its model, such as {lost};"):
        open_encoder(str(copy))


def test_weights_of_a_decoder_are_ignored(copy: Path) -> None:
    expected = open_encoder(str(copy)).encode(TEXTS[:2])
    save_as_bin(copy, {**weights(copy), "decoder.final_layer_norm.weight": torch.ones(32)})
    np.testing.assert_allclose(open_encoder(str(copy)).encode(TEXTS[:2]), expected, atol=1e-6)


def test_damaged_graph_is_refused_in_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["onnx"], tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ServiceError, match=r"model\.onnx cannot be loaded") as refused:
        open_encoder(str(tmp_path))
    assert "\n" not in str(refused.value)
