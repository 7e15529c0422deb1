# SPDX-License-Identifier: Apache-2.0
"""Model folders: what is saved is loaded, what does not fit is refused."""

import dataclasses
import hashlib
import json
import os
import pathlib
import resource
import shutil
import subprocess

import h5py
import keras
import numpy as np
import pytest

from kbert import tasks
from kbert.checkpoints import folder
from kbert.tasks import TaskSpec
from kbert.tasks.classification import head as classification_head
from kbert.tasks.embedding import head as embedding_head
from kbert.tasks.multiple_choice import head as multiple_choice_head
from kbert.tasks.question_answering import head as question_answering_head
from kbert.tasks.reranking import head as reranking_head
from kbert.tasks.summarization import head as summarization_head
from kbert.tasks.tagging import head as tagging_head

SPECS = {
    "encoder": TaskSpec(task="encoder", max_seq_length=24),
    "embedding": TaskSpec(
        task="embedding",
        max_seq_length=12,
        settings=embedding_head.Settings(
            pooling="cls",
            dense=("6:tanh", "4:linear"),
            query_prompt="Frage: ",
            loss="cosent",
            matryoshka=(4, 2),
        ),
    ),
    "pretraining": TaskSpec(task="pretraining", max_seq_length=16, num_texts=2),
    "masked_lm": TaskSpec(task="masked_lm", max_seq_length=20),
    "next_sentence": TaskSpec(
        task="next_sentence", max_seq_length=16, num_texts=2
    ),
    "classification": TaskSpec(
        task="classification",
        max_seq_length=12,
        labels=("schön", "so-so", "bad"),
        settings=classification_head.Settings(multi_label=True, threshold=0.25),
    ),
    "regression": TaskSpec(task="regression", max_seq_length=12, num_texts=2),
    "tagging": TaskSpec(
        task="tagging",
        max_seq_length=12,
        labels=tagging_head.labels_of(["été", "LOC"]),
        settings=tagging_head.Settings(stride=5),
    ),
    "question_answering": TaskSpec(
        task="question_answering",
        max_seq_length=12,
        num_texts=2,
        settings=question_answering_head.Settings(
            stride=4,
            max_query_length=3,
            max_answer_length=2,
            no_answer=True,
            threshold=-1.5,
        ),
    ),
    "multiple_choice": TaskSpec(
        task="multiple_choice",
        max_seq_length=12,
        settings=multiple_choice_head.Settings(num_choices=3),
    ),
    "reranking": TaskSpec(
        task="reranking",
        max_seq_length=12,
        settings=reranking_head.Settings(activation="none", loss="list"),
    ),
    "summarization": TaskSpec(
        task="summarization",
        max_seq_length=12,
        settings=summarization_head.Settings(num_sentences=2),
    ),
}
FILES = {
    *("bert_config.json", "vocab.txt", "vocab.json", "task.json"),
    *("model.weights.h5", "model.weights.h5.sha256"),
}


def _randomize(model):
    """No two weights alike: also those that begin as zeros or ones."""
    rng = np.random.default_rng(5)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape).astype("float32"))
    return model


_SAVED = {}


@pytest.fixture
def saved(save, tmp_path, tmp_path_factory):
    """Folder of a saved classification model, to be spoilt."""
    if not _SAVED:
        _SAVED["path"] = tmp_path_factory.mktemp("saved") / "model"
        shutil.copytree(save()[0], _SAVED["path"])
        shutil.rmtree(tmp_path / "model")
    return pathlib.Path(shutil.copytree(_SAVED["path"], tmp_path / "model"))


def _weights(model):
    return {v.path: v.numpy() for v in model.weights}


@pytest.fixture
def save(tmp_path, tiny_config, vocabulary):
    """Saves a model of a task, or with other parts, as tmp_path/model."""

    def save(task="classification", name="model", **other):
        parts = {
            "config": tiny_config,
            "vocabulary": vocabulary,
            "spec": SPECS[task],
            **other,
        }
        licences = parts.pop("licences", {})
        model = _randomize(tasks.build(parts["config"], parts["spec"]))
        folder.save(tmp_path / name, model, **parts, licences=licences)
        return tmp_path / name, model

    return save


@pytest.mark.parametrize("task", SPECS)
def test_all_parts_come_back(task, save, tiny_config, vocabulary, batch):
    path, model = save(task)
    # Layers of the same classes move Keras's automatic names on.
    keras.layers.Dense(3).build((None, 2))
    loaded = folder.load(path)
    assert loaded.config == tiny_config
    assert loaded.vocabulary == vocabulary
    assert loaded.spec == SPECS[task]
    assert set(tasks.TASKS) == set(SPECS)
    want, got = _weights(model), _weights(loaded.model)
    assert want.keys() == got.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)
    batch |= {"sentence_positions": batch["mask_positions"]}
    inputs = {n: batch[n] for n in model.input}
    if task in ("multiple_choice", "reranking"):
        inputs = {n: np.stack([x] * 3, axis=1) for n, x in inputs.items()}
    want, got = model(inputs), loaded.model(inputs)
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def test_the_files_are_the_documented_ones(save):
    path, model = save()
    assert {file.name for file in path.iterdir()} == FILES
    assert json.loads((path / "task.json").read_text("utf-8")) == {
        "format_version": 1,
        "task": "classification",
        "max_seq_length": 12,
        "labels": ["schön", "so-so", "bad"],
        "num_texts": 1,
        "settings": {"multi_label": True, "threshold": 0.25},
        "text_columns": [],
        "label_column": None,
        "choice_columns": [],
        "embedding": {"pooling": "mean", "normalize": False},
    }
    checked = subprocess.run(
        ["sha256sum", "-c", "model.weights.h5.sha256"],
        cwd=path,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0
    assert sorted(checked.stdout.splitlines()) == sorted(
        f"{name}: OK" for name in FILES - {"model.weights.h5.sha256"}
    )
    # Keras alone reads the weights too.
    other = tasks.build(folder.load(path).config, SPECS["classification"])
    other.load_weights(path / "model.weights.h5")
    for name, want in _weights(model).items():
        np.testing.assert_array_equal(_weights(other)[name], want)


def test_a_model_is_replaced(save, tmp_path):
    save("pretraining")
    path, model = save("classification")
    assert folder.load(path).spec.task == "classification"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_what_is_no_model_is_not_replaced(save, tmp_path):
    path, _ = save()
    (path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"model: has notes\.txt, which"):
        save()
    assert (path / "notes.txt").read_text() == "mine"
    assert folder.load(path)
    vocabulary_only = tmp_path / "words"
    vocabulary_only.mkdir()
    (vocabulary_only / "vocab.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"words: neither empty nor a kbert"):
        save(name="words")
    assert (vocabulary_only / "vocab.txt").read_text() == "mine"
    with pytest.raises(ValueError, match=r"notes\.txt: a file; needs"):
        save(name="model/notes.txt")


def test_a_model_that_a_kill_took_away_comes_back(saved, tmp_path):
    """Killed between two renames, where folders cannot be exchanged."""
    aside = tmp_path / ".kbert-0123456789abcdef" / ".old" / "model"
    aside.parent.mkdir(parents=True)
    saved.rename(aside)
    assert folder.load(saved).spec == SPECS["classification"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_failed_save_leaves_the_old_model(save, tmp_path, monkeypatch):
    path, model = save()

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "save_weights", fail)
    with pytest.raises(OSError, match="disk full"):
        save("encoder")
    monkeypatch.undo()
    assert folder.load(path).spec.task == "classification"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vocab_size": 14},
            r"vocab\.txt has 15 tokens, but bert_config\.json has vocab_size "
            "14",
        ),
        (
            {"lower_case": False},
            r"vocab\.json has lower_case True, but bert_config\.json has False",
        ),
        (
            {"max_position_embeddings": 11},
            r"task\.json has max_seq_length 12, but bert_config\.json has "
            "max_position_embeddings 11",
        ),
    ],
)
def test_parts_that_disagree(changes, message, save, saved, tiny_config):
    other = dataclasses.replace(tiny_config, **changes)
    with pytest.raises(ValueError, match="model: not saved: " + message):
        save(config=other)
    other.to_json(saved / "bert_config.json")
    with pytest.raises(ValueError, match="model: " + message):
        folder.load(saved)


def test_a_token_table_may_be_longer_than_the_vocabulary(save, tiny_config):
    path, _ = save(config=dataclasses.replace(tiny_config, vocab_size=16))
    assert folder.load(path).config.vocab_size == 16


@pytest.mark.parametrize(
    ("changes", "found", "needed"),
    [
        (
            {"vocab_size": 16},
            r"token_embedding/embeddings \(15, 16\)",
            r"token_embedding/embeddings \(16, 16\)",
        ),
        (
            {"num_hidden_layers": 1},
            r"block_1/qkv_kernel \(16, 48\)",
            r"pooler/kernel \(16, 16\)",
        ),
        (
            {"position_embedding": "sinusoidal"},
            r"embeddings/position_embedding \(24, 16\)",
            r"embeddings/norm/gamma \(16,\)",
        ),
    ],
)
def test_weights_of_another_config(changes, found, needed, saved, tiny_config):
    other = dataclasses.replace(tiny_config, **changes)
    other.to_json(saved / "bert_config.json")
    _sign(saved)
    message = rf"model\.weights\.h5: does not fit .*{found}; needs {needed}\."
    with pytest.raises(ValueError, match=message):
        folder.load(saved)


@pytest.mark.parametrize("name", ["max_position_embeddings", "hidden_size"])
def test_a_config_of_any_size_asks_for_no_memory(name, saved, tiny_config):
    huge = dataclasses.replace(tiny_config, **{name: 2**16})
    huge.to_json(saved / "bert_config.json")
    _sign(saved)
    message = r"weights\.h5: has \S+ weights; the encoder of the config"
    with pytest.raises(ValueError, match=message):
        folder.load(saved)


def test_variables_that_are_swapped(saved):
    """Two of one shape: Keras alone would load one as the other."""
    weights = saved / "model.weights.h5"
    with h5py.File(weights, "a") as file:
        lines = file["kbert_variables"]
        texts = [line.decode() for line in lines]
        one = texts.index("block_0/attention_norm/gamma (16,)")
        two = texts.index("block_0/output_norm/gamma (16,)")
        lines[one], lines[two] = texts[two], texts[one]
    _sign(saved)
    with pytest.raises(ValueError, match="needs block_0/attention_norm/gamma"):
        folder.load(saved)


def test_weights_that_kbert_did_not_write(saved):
    with h5py.File(saved / "model.weights.h5", "a") as file:
        del file["kbert_variables"]
    _sign(saved)
    with pytest.raises(
        ValueError, match=r"weights\.h5: .*not written by kbert"
    ):
        folder.load(saved)


def _dataset(file):
    """The name of one of the largest arrays."""
    sizes = {}
    file.visititems(
        lambda name, item: sizes.update({name: getattr(item, "nbytes", 0)})
    )
    return max(sizes, key=lambda name: sizes[name])


def _unallocated(file, name):
    del file[name]
    file.create_dataset(name, shape=(10**12, 16), dtype="float32")


def _in_chunks(file, name):
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape=shape, dtype="float32", chunks=True)


def _compressed(file, name):
    zeros = np.zeros((2000, 2000), "float32")
    del file[name]
    file.create_dataset(name, data=zeros, compression="gzip")


def _external(file, name):
    shape = file[name].shape
    del file[name]
    file.create_dataset(
        name, shape, "uint8", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    )


def _linked(file, name):
    del file[name]
    file[name] = h5py.ExternalLink("/etc/passwd", "/x")


def _variables(value):
    def change(file, name):
        del file["kbert_variables"]
        file["kbert_variables"] = value

    return change


def _group_of_variables(file, name):
    del file["kbert_variables"]
    file.create_group("kbert_variables")


def _many_variables(file, name):
    del file["kbert_variables"]
    text = h5py.string_dtype()
    file.create_dataset("kbert_variables", (10**12,), text, chunks=(1000,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_unallocated, r"shape \(1000000000000, 16\).*the file has 0"),
        (_in_chunks, "bytes; the file has 0"),
        (_compressed, "16,000,000 bytes; the file has"),
        (_external, "is in another file"),
        (_linked, "is a link, which kbert does not follow"),
        (_group_of_variables, "no list kbert_variables"),
        (_variables(7), "no list kbert_variables"),
        (_variables([1.5, 2.5]), "no list kbert_variables"),
        (_variables("text"), "no list kbert_variables"),
        (_variables([b"\xff"]), "utf-8"),
        (_variables(["x (1,)"]), "does not fit .* it has x"),
        (_many_variables, "bytes; the file has 0"),
    ],
)
def test_arrays_that_the_file_does_not_hold(change, message, saved):
    """All with the right checksum, and in no time: nothing is allocated."""
    with h5py.File(saved / "model.weights.h5", "a") as file:
        change(file, _dataset(file))
    _sign(saved)
    with pytest.raises(ValueError, match=rf"weights\.h5: .*{message}") as error:
        folder.load(saved)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "positions",
    [
        range(0, 3000, 150),
        pytest.param(range(0, 66_000, 15), marks=pytest.mark.slow),
    ],
)
def test_a_damaged_header_with_its_checksum(
    positions, save, tiny_config, monkeypatch
):
    """The model, which the damage does not reach, is built once."""
    config = dataclasses.replace(tiny_config, num_hidden_layers=1)
    path, model = save(config=config)
    monkeypatch.setattr(tasks, "build", lambda *_: model)
    weights = path / "model.weights.h5"
    whole = weights.read_bytes()
    assert len(whole) > positions[-1]
    refused = 0
    for at in positions:
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        weights.write_bytes(damaged)
        _sign(path)
        try:
            folder.load(path)
        except ValueError as error:
            refused += 1
            assert str(error).startswith(f"{weights}: "), error
            assert "\n" not in str(error)
    assert refused > 1


@pytest.mark.parametrize("name", [*folder._FILES])
def test_a_git_lfs_pointer_or_a_pipe_instead_of_a_file(name, saved):
    path = saved / name
    path.write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    message = f"{name}: is a Git LFS pointer, .*run git lfs pull"
    with pytest.raises(ValueError, match=message):
        folder.load(saved)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=name):
        folder.load(saved)


def _sign(path):
    """As kbert did before it summed the other files."""
    digest = hashlib.sha256((path / "model.weights.h5").read_bytes())
    (path / "model.weights.h5.sha256").write_text(digest.hexdigest())


def test_every_damaged_byte_is_seen(saved):
    weights = saved / "model.weights.h5"
    whole = bytearray(weights.read_bytes())
    for at in np.linspace(0, len(whole) - 1, 20).astype(int):
        damaged = whole.copy()
        damaged[at] ^= 1
        weights.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"weights\.h5: damaged or exch"):
            folder.load(saved)
    weights.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"weights\.h5: damaged or exchanged"):
        folder.load(saved)


@pytest.mark.parametrize(
    "name", ["bert_config.json", "vocab.txt", "vocab.json", "task.json"]
)
def test_every_bit_of_the_small_files_is_seen(name, saved):
    file = saved / name
    whole = bytearray(file.read_bytes())
    for at in range(len(whole)):
        damaged = whole.copy()
        damaged[at] ^= 1 << at % 8
        file.write_bytes(damaged)
        with pytest.raises(ValueError):
            folder.load(saved)
    file.write_bytes(whole)
    folder.load(saved)


def test_a_changed_token_is_no_other_vocabulary(saved):
    file = saved / "vocab.txt"
    file.write_bytes(file.read_bytes()[:-2] + b"~\n")
    with pytest.raises(ValueError, match=r"vocab\.txt: damaged or exchanged"):
        folder.load(saved)


def test_damaged_sums_are_seen(saved):
    file = saved / "model.weights.h5.sha256"
    whole = bytearray(file.read_bytes())
    for at in range(0, len(whole), 3):
        damaged = whole.copy()
        damaged[at] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            folder.load(saved)


def test_a_folder_that_sums_its_weights_alone_loads(saved):
    _sign(saved)
    folder.load(saved)
    sums = saved / "model.weights.h5.sha256"
    sums.write_text(f"{sums.read_text()}  model.weights.h5\n")
    folder.load(saved)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_named(name, saved):
    (saved / name).unlink()
    message = rf"model is not a kbert model folder: no {name}\."
    with pytest.raises(ValueError, match=message):
        folder.load(saved)


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="gone: no such folder; needs"):
        folder.load(tmp_path / "gone")


@pytest.mark.parametrize(
    "names",
    [
        "config.json model.safetensors vocab.txt",
        "config.json pytorch_model.bin vocab.txt",
        "bert_config.json vocab.txt bert_model.ckpt.index",
        "config.json metadata.json model.weights.h5",
        "saved_model.pb",
    ],
)
def test_another_librarys_folder(names, tmp_path):
    for name in names.split():
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="another library's: .*kbert-convert"):
        folder.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format_version is 2; this kbert reads 1"),
        ({"head": "span"}, r'unknown fields \["head"\]'),
        ({"num_texts": True}, "num_texts is true; needs a whole"),
        ({"max_seq_length": 10**30}, "max_seq_length is 10*; needs"),
        ({"labels": ["a", ["b"]]}, r"labels\[1\] is .*; needs a string"),
        ({"format_version": True}, "format_version is true; this kbert"),
        ({"settings": [1]}, r"settings: \[1\]; needs an object|needs none"),
        ({"labels": "ab"}, 'labels is "ab"; needs a list'),
        (
            {"embedding": {"pooling": "sum"}},
            'embedding: pooling is "sum"; needs one of',
        ),
        ({"embedding": [1]}, r"embedding: \[1\]; needs an object|.*needs none"),
        ({"max_seq_length": "9"}, 'max_seq_length is "9"; needs a whole'),
        ({"task": ["encoder"]}, r'task is \["encoder"\]; needs a string'),
    ],
)
def test_wrong_fields_in_task_json(changes, message, saved):
    file = saved / "task.json"
    fields = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**fields, **changes}), "utf-8")
    with pytest.raises(ValueError, match=r"task\.json: " + message):
        folder.load(saved)


def _model(config, task):
    return _randomize(tasks.build(config, SPECS[task]))


def test_copy_takes_the_encoder_and_the_heads_that_match(tiny_config):
    pretrainer = _model(tiny_config, "pretraining")
    classifier = tasks.build(tiny_config, SPECS["classification"])
    before = _weights(classifier)
    assert folder.copy_weights(pretrainer, classifier) == ["classifier"]
    after, source = _weights(classifier), _weights(pretrainer)
    for name, value in after.items():
        want = before if name.startswith("classifier/") else source
        np.testing.assert_array_equal(value, want[name], err_msg=name)
    again = tasks.build(tiny_config, SPECS["pretraining"])
    assert folder.copy_weights(pretrainer, again) == []


def test_copy_leaves_a_pooler_that_the_source_has_not(tiny_config):
    masked_lm = _model(tiny_config, "masked_lm")
    pretrainer = tasks.build(tiny_config, SPECS["pretraining"])
    assert folder.copy_weights(masked_lm, pretrainer) == ["pooler", "nsp"]
    back = tasks.build(tiny_config, SPECS["masked_lm"])
    assert folder.copy_weights(pretrainer, back) == []
    for name, value in _weights(masked_lm).items():
        np.testing.assert_array_equal(_weights(back)[name], value)


def test_a_separate_output_matrix_comes_back(save, tiny_config, batch):
    untied = dataclasses.replace(tiny_config, tie_word_embeddings=False)
    path, model = save("pretraining", config=untied)
    loaded = folder.load(path)
    assert not loaded.config.tie_word_embeddings
    want = model(batch)["mlm_logits"].numpy()
    np.testing.assert_array_equal(loaded.model(batch)["mlm_logits"], want)
    table = model.get_layer("token_embedding").embeddings
    matrix = model.get_layer("mlm_output").embeddings
    assert table.shape == matrix.shape
    matrix.assign(2 * matrix.numpy())
    assert np.abs(model(batch)["mlm_logits"].numpy() - want).max() > 1e-3


def test_licences_stay_with_the_model(save, tmp_path):
    licences = {
        "LICENSE.txt": "Öffentlich\n".encode(),
        "MODEL_LICENSE": b"theirs",
        "NOTICE": b"\xff",
    }
    path, _ = save(licences=licences)
    assert FILES | set(licences) == {file.name for file in path.iterdir()}
    loaded = folder.load(path)
    assert loaded.licences == licences
    save()  # such a folder is replaced too, and its licences go
    assert folder.load(path).licences == {}


@pytest.mark.parametrize("name", ["LICENSE", "notice.md", "COPYING"])
def test_a_licence_is_no_link_out_of_its_folder(name, saved, tmp_path):
    (tmp_path / "secret").write_text("mine")
    (saved / name).symlink_to("../secret")
    with pytest.raises(ValueError, match=f"{name}: a link to .*secret, outsi"):
        folder.load(saved)
    (saved / name).unlink()
    os.mkfifo(saved / name)
    with pytest.raises(ValueError, match=f"{name}: a FIFO"):
        folder.load(saved)
    (saved / name).unlink()
    (saved / name).symlink_to(name)
    with pytest.raises((ValueError, OSError), match=name):
        folder.load(saved)


def test_a_licence_may_be_a_link_in_its_folder_or_cache(tmp_path):
    snapshot = tmp_path / "models--me--bert" / "snapshots" / "0a1b"
    blobs = tmp_path / "models--me--bert" / "blobs"
    for made in (snapshot, blobs):
        made.mkdir(parents=True)
    (blobs / "99ff").write_text("theirs")
    (snapshot / "LICENSE").symlink_to("../../blobs/99ff")
    (snapshot / "COPYING").symlink_to("LICENSE.txt")
    (snapshot / "LICENSE.txt").write_text("mine")
    assert folder.read_licences(snapshot) == {
        "COPYING": b"mine",
        "LICENSE": b"theirs",
        "LICENSE.txt": b"mine",
    }


def test_copy_leaves_a_head_of_another_size(tiny_config):
    three = _model(tiny_config, "classification")
    spec = dataclasses.replace(SPECS["classification"], labels=("a", "b"))
    two = tasks.build(tiny_config, spec)
    assert folder.copy_weights(three, two) == ["classifier"]
    np.testing.assert_array_equal(
        two.get_layer("pooler").kernel, three.get_layer("pooler").kernel
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vocab_size": 16},
            r"token_embedding has token_embedding/embeddings \(16, 16\); "
            r"needs token_embedding/embeddings \(15, 16\)",
        ),
        ({"num_hidden_layers": 3}, r"block_2 has block_2/.*; needs none"),
        ({"num_hidden_layers": 1}, "block_1 has no more; needs block_1/"),
    ],
)
def test_copy_refuses_another_encoder(changes, message, tiny_config):
    source = _model(dataclasses.replace(tiny_config, **changes), "encoder")
    target = _model(tiny_config, "classification")
    before = _weights(target)
    with pytest.raises(ValueError, match=message):
        folder.copy_weights(source, target)
    for name, value in _weights(target).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_a_fingerprint_tells_weights_and_settings_apart(saved):
    first = folder.fingerprint(saved)
    loaded = folder.load(saved)
    parts = {"config": loaded.config, "vocabulary": loaded.vocabulary}
    folder.save(saved, loaded.model, spec=loaded.spec, **parts)
    assert folder.fingerprint(saved) == first
    shorter = dataclasses.replace(
        loaded.spec, max_seq_length=loaded.spec.max_seq_length - 1
    )
    folder.save(saved, loaded.model, spec=shorter, **parts)
    second = folder.fingerprint(saved)
    loaded.model.weights[0].assign(2 * loaded.model.weights[0])
    folder.save(saved, loaded.model, spec=shorter, **parts)
    assert len({first, second, folder.fingerprint(saved)}) == 3


@pytest.mark.parametrize("limit", [0, 4096, 40000])
def test_a_disk_that_takes_no_more(limit, saved, save, tmp_path):
    """By a limit to a file's size; the folder that is there stays."""
    before = {x.name: x.read_bytes() for x in saved.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {x.name: x.read_bytes() for x in saved.iterdir()} == before
    assert [x.name for x in tmp_path.iterdir()] == ["model"]
