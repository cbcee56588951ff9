"""From documentation to search, with the packaged encoder and Milvus Lite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.adapters.encoders import open_encoder
from models.adapters.encoders.encoder import Encoder
from models.core.errors import DatasetError, ServiceError
from models.core.experiment.passages import Passages
from producer.corpus.attribution import Attribution, read_attributions
from producer.index.build_index import Index, build_index
from storage.passages import index_path
from storage.passages.milvus_store import MilvusStore
from storage.passages.snapshot import Snapshot
from tests.support.devdocs import write_folder

SMALL = Passages(packages=["json", "os.path"])
TRESPASS = """
import sys
from models.core.errors import ServiceError
from storage.passages.milvus_store import MilvusStore
try:
    MilvusStore.open(sys.argv[1], "index", "f" * 64, 4)
except ServiceError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return open_encoder("minilm")


class Site:
    """A home with a Milvus Lite folder, and a JSONL corpus in it."""

    def __init__(self, home: Path, encoder: Encoder) -> None:
        self.home, self.encoder = home, encoder
        self.milvus = str(home / "milvus.db")
        self.corpus = home / "docs.jsonl"
        self.config = Passages(source="jsonl", path=str(self.corpus))

    def write(self, *texts: str) -> None:
        rows = [{"id": "m.f", "text": text} for text in texts]
        self.corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def build(self, config: Passages | None = None) -> Index:
        return build_index(config or self.config, self.milvus, self.home, encoder=self.encoder)

    def texts(self) -> set[str]:
        snapshot = Snapshot.open(index_path(self.config, self.home))
        return {snapshot.passage(row).text for row in range(len(snapshot))}


@pytest.fixture
def site(tmp_path: Path, encoder: Encoder) -> Site:
    return Site(tmp_path, encoder)


def test_installed_documentation_is_found(site: Site) -> None:
    index = site.build(SMALL)
    assert index.count == index.encoded > 30
    snapshot = Snapshot.open(index.path, site.encoder.fingerprint)
    for words, wanted in [
        ("join path components", "os.path.join"),
        ("deserialize a JSON document", "json.loads"),
    ]:
        [hits] = snapshot.search(site.encoder.encode([words]), 3)
        assert wanted in [hit.passage.id for hit in hits]


def test_unchanged_corpus_opens_neither_milvus_nor_the_model(site: Site) -> None:
    site.write("one", "two")
    built = site.build()
    again = build_index(site.config, "http://127.0.0.1:1", site.home)
    assert (again.count, again.fingerprint, again.encoded) == (built.count, built.fingerprint, 0)


def test_only_changes_are_encoded(site: Site) -> None:
    site.write("one", "two", "three")
    assert site.build().encoded == 3
    site.write("one", "two", "changed")
    assert (site.build().encoded, site.texts()) == (1, {"one", "two", "changed"})
    site.write("two")
    index = site.build()
    assert (index.encoded, index.count, site.texts()) == (0, 1, {"two"})


def test_lost_snapshot_is_exported_again(site: Site) -> None:
    site.write("one", "two")
    index = site.build()
    (index.path / "meta.json").unlink()
    assert (site.build().encoded, site.texts()) == (0, {"one", "two"})


def test_interrupted_build_goes_on(site: Site) -> None:
    site.write(*(f"function number {number}" for number in range(300)))

    def interrupt(done: int, total: int) -> None:
        if 0 < done < total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(site.config, site.milvus, site.home, interrupt, site.encoder)
    with pytest.raises(ServiceError, match="no passage index"):
        site.texts()
    assert site.build().encoded == 300 - 256
    assert len(site.texts()) == 300


def test_index_of_another_encoder_is_rebuilt_and_not_searched(site: Site) -> None:
    site.write("one", "two")
    with MilvusStore.open(site.milvus, index_path(site.config, site.home).name, "0" * 64, 3) as other:
        old = other.collection
    index = site.build()
    with pytest.raises(ServiceError, match="build it again"):
        Snapshot.open(index.path, "0" * 64)
    with MilvusStore.open(site.milvus, index.name, index.fingerprint, site.encoder.dimension) as store:
        assert len(store.keys()) == 2
        with store._connection.explained() as client:
            assert old not in client.list_collections()


def test_hostile_passages_go_through(site: Site) -> None:
    rows = [
        {"id": "m.f", "text": "null \0 character"},
        {"id": "m.f", "text": "the same id, another text"},
        {"id": "m.g", "text": "word " * 200_000},
        {"id": "m.h", "text": "\ud800 \U0001f600 \x1f \u2028 ' \" \\"},
        {"id": "m.i", "text": ""},
    ]
    site.corpus.write_text("\n".join(json.dumps(row) for row in rows))
    assert site.build().count == 5
    assert {"null  character", "the same id, another text", ""} <= site.texts()
    assert max(map(len, site.texts())) == 4_000
    assert site.build().encoded == 0


def test_attributions_are_stored_beside_the_index(site: Site) -> None:
    site.write("one")
    assert read_attributions(site.build().path) == []
    notices = site.home / "attribution.json"
    notices.write_text(json.dumps({"python~3.9": "© PSF. PSF License."}))
    index = site.build()
    assert index.encoded == 0
    assert read_attributions(index.path) == [Attribution("python~3.9", "3.9", "© PSF. PSF License.", "")]
    notices.write_text('{"python~3.9": 7}')
    with pytest.raises(DatasetError, match=r"attribution\.json: python~3\.9 needs a string, found int"):
        site.build()


def test_pages_of_devdocs_are_found(site: Site) -> None:
    page = "<dl><dt id='len'>len(s)</dt><dd><p>Return the number of items.</p></dd></dl>"
    entries = [{"name": "len()", "path": "functions#len"}]
    write_folder(site.home / "docs" / "python~3.14", entries, {"functions": page}, release="3.14.1")
    index = site.build(Passages(source="devdocs", path=str(site.home / "docs")))
    assert Snapshot.open(index.path).passage(0).id == "python.functions#len"
    assert [str(attribution) for attribution in read_attributions(index.path)] == ["python~3.14 3.14.1:"]


def test_lite_folder_of_another_process_is_refused_in_one_line(tmp_path: Path) -> None:
    uri = str(tmp_path / "milvus.db")
    command = [sys.executable, "-c", TRESPASS, uri]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with MilvusStore.open(uri, "index", "f" * 64, 4):
        refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert refused.stdout.startswith(f"Milvus at {uri} is in use by another process; wait for it to end")
    assert refused.stdout.count("\n") == 1
    assert refused.stderr == ""
    after = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (after.stdout, after.stderr) == ("", "")


def test_encoder_gives_unit_vectors_whatever_the_batch(encoder: Encoder) -> None:
    texts = ["", "short", "a somewhat longer text about paths", "word " * 5_000, *["😀"] * 36]
    vectors = encoder.encode(texts)
    assert vectors.shape == (40, encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[2], encoder.encode(texts[2:3])[0], atol=1e-5)
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_folder_that_is_no_encoder_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 8, "model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ServiceError, match=r"passages\.encoder: .* cannot be loaded") as error:
        open_encoder(str(tmp_path))
    assert "\n" not in str(error.value)
