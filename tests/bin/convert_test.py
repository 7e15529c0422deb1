# SPDX-License-Identifier: Apache-2.0
"""kbert-convert: what it prints, writes and refuses."""

import json
import pathlib
import re

import numpy as np
import pytest
import safetensors.numpy
from absl import app

from kbert.checkpoints import folder


@pytest.fixture
def hugging_face(tmp_path, vocabulary):
    """A folder with a BERT of one block, whose tensors are random."""
    path = tmp_path / "hf"
    path.mkdir()
    config = {
        "model_type": "bert",
        "vocab_size": len(vocabulary),
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 12,
        "max_position_embeddings": 9,
    }
    (path / "config.json").write_text(json.dumps(config))
    (path / "vocab.txt").write_text("\n".join(vocabulary.tokens) + "\n")
    shapes = {
        "embeddings.word_embeddings.weight": (len(vocabulary), 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
        "embeddings.position_embeddings.weight": (9, 8),
    }
    dense = {
        "encoder.layer.0.attention.self.query": (8, 8),
        "encoder.layer.0.attention.self.key": (8, 8),
        "encoder.layer.0.attention.self.value": (8, 8),
        "encoder.layer.0.attention.output.dense": (8, 8),
        "encoder.layer.0.intermediate.dense": (12, 8),
        "encoder.layer.0.output.dense": (8, 12),
        "pooler.dense": (8, 8),
        "classifier": (3, 8),
    }
    norms = {
        "embeddings.LayerNorm": (8,),
        "encoder.layer.0.attention.output.LayerNorm": (8,),
        "encoder.layer.0.output.LayerNorm": (8,),
    }
    for name, shape in {**dense, **norms}.items():
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = shape[:1]
    rng = np.random.default_rng(4)
    tensors = {
        name: rng.normal(size=shape).astype("float32")
        for name, shape in shapes.items()
    }
    safetensors.numpy.save_file(tensors, path / "model.safetensors")
    return path, tensors


def test_converts_and_says_what(call, hugging_face, tmp_path):
    path, tensors = hugging_face
    (path / "LICENSE").write_text("as you like")
    output = tmp_path / "kbert"
    said = call(
        "convert",
        "--from=huggingface",
        f"--input={path}",
        f"--output={output}",
        "--lower_case",
    )
    assert said == (
        "23 tensors read.\n"
        "2 tensors left out: classifier.bias, classifier.weight.\n"
        f"{output}: a kbert model for the task encoder\n"
    )
    loaded = folder.load(output)
    assert loaded.spec.task == "encoder" and loaded.vocabulary.lower_case
    assert loaded.licences == {"LICENSE": b"as you like"}
    want = tensors["pooler.dense.weight"].T
    np.testing.assert_array_equal(loaded.model.get_layer("pooler").kernel, want)


def test_and_back(call, hugging_face, tmp_path):
    path, tensors = hugging_face
    fields = json.loads((path / "config.json").read_text())
    fields["architectures"] = ["BertForSequenceClassification"]
    fields["id2label"] = {"0": "a", "1": "b", "2": "c"}
    (path / "config.json").write_text(json.dumps(fields))
    model, back = tmp_path / "kbert", tmp_path / "back"
    call(
        "convert",
        "--from=huggingface",
        f"--input={path}",
        f"--output={model}",
        "--nolower_case",
        "--num_texts=2",
    )
    assert folder.load(model).spec.num_texts == 2
    said = call(
        "convert", "--to=huggingface", f"--input={model}", f"--output={back}"
    )
    assert said == (
        "config.json has no field for num_texts, 2.\n"
        f"{back}: classification in the huggingface format\n"
    )
    again = safetensors.numpy.load_file(back / "model.safetensors")
    assert {name.removeprefix("bert.") for name in again} == set(tensors)
    for name, tensor in again.items():
        want = tensors[name.removeprefix("bert.")]
        np.testing.assert_array_equal(tensor, want, err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ["--from=huggingface", "--to=huggingface"],
            app.UsageError,
            "Give one of --from and --to",
        ),
        (
            ["--to=keras_hub", "--num_choices=2"],
            app.UsageError,
            "--num_choices cannot be used with --to",
        ),
        (
            ["--from=huggingface", "--lower_case", "--num_texts=2"],
            ValueError,
            "--num_texts: .* is for 'encoder'; needs a model for classificati",
        ),
        (
            ["--to=huggingface"],
            ValueError,
            "tokenizer_config.json: .*--lower_case",
        ),
    ],
)
def test_flags_that_do_not_go_together(
    arguments, error, message, call, hugging_face, tmp_path
):
    path, _ = hugging_face
    files = [f"--input={path}", f"--output={tmp_path / 'output'}"]
    with pytest.raises(error, match=message):
        call("convert", *arguments, *files)
    assert [entry.name for entry in tmp_path.iterdir()] == ["hf"]


def test_a_kbert_model_is_no_input_without_to(call, hugging_face, tmp_path):
    path, _ = hugging_face
    model = tmp_path / "kbert"
    said = call(
        "convert", f"--input={path}", f"--output={model}", "--lower_case"
    )
    assert said.startswith(f"{path}: Hugging Face model\n23 tensors read.\n")
    with pytest.raises(
        ValueError, match="kbert: is a kbert model already; nee"
    ):
        call("convert", f"--input={model}", f"--output={tmp_path}/again")
    assert not (tmp_path / "again").exists()


def test_what_is_there_is_not_replaced(hugging_face, call):
    path, _ = hugging_face
    before = sorted(entry.name for entry in path.iterdir())
    flags = ["--from=huggingface", f"--input={path}", f"--output={path}"]
    with pytest.raises(ValueError, match=f"{path}: has config.json, which"):
        call("convert", *flags, "--nolower_case")
    assert sorted(entry.name for entry in path.iterdir()) == before


def test_by_way_of_kerashub(call, tmp_path, tiny_config, vocabulary):
    from kbert import tasks
    from kbert.checkpoints.keras_hub_files import OTHER_CLEANING
    from kbert.tasks import TaskSpec

    spec = TaskSpec(task="classification", max_seq_length=9, labels=("a", "b"))
    model = tasks.build(tiny_config, spec)
    parts = {"config": tiny_config, "vocabulary": vocabulary, "spec": spec}
    one, two, three = (tmp_path / name for name in "123")
    preset, hf = tmp_path / "preset", tmp_path / "hf"
    folder.save(one, model, **parts)
    said = call(
        "convert", "--to=keras_hub", f"--input={one}", f"--output={preset}"
    )
    assert said == (
        f"{OTHER_CLEANING}\n"
        "A preset has no field for labels, in this order: a, b.\n"
        f"{preset}: classification in the keras_hub format\n"
    )
    said = call(
        "convert", "--from=keras_hub", f"--input={preset}", f"--output={two}"
    )
    assert said.endswith(f"{two}: a kbert model for the task classification\n")
    # From one library to another, without a kbert model between them.
    call("convert", "--to=huggingface", f"--input={preset}", f"--output={hf}")
    call("convert", f"--input={hf}", f"--output={three}")
    assert folder.load(three).spec.labels == ("0", "1")
    again = folder.load(two).model.get_weights()
    for got, want in zip(again, model.get_weights(), strict=True):
        np.testing.assert_array_equal(got, want)


def test_the_help_and_the_table_name_kerashubs_activation():
    root = pathlib.Path(__file__).parents[2]
    code = (root / "kbert" / "bin" / "convert.py").read_text("utf-8")
    rows = (root / "docs" / "conversion.md").read_text("utf-8").splitlines()
    (row,) = (x for x in rows if x.startswith("| KerasHub, out |"))
    for text in (" ".join(code.split('"""')[1].split()), row):
        assert re.search("the tanh form of GELU (alone|only)", text)
        assert "cannot be converted" in text
