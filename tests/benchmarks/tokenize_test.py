# SPDX-License-Identifier: Apache-2.0
import pathlib
import subprocess
import sys
import unicodedata

import pytest
import tensorflow as tf

from benchmarks import tokenize

ROOT = pathlib.Path(__file__).parents[2]


def test_ratios_are_to_kbert_with_the_same_outputs():
    rounds = {
        "kbert": [1.0, 2.0, 1.0],
        "tf-text": [2.0, 2.0, 3.0],
        "kbert with spans": [4.0, 4.0, 4.0],
        "tf-text with spans": [8.0, 6.0, 4.0],
    }
    results = tokenize.summarize(rounds, 6_000_000)
    assert results["kbert"]["rate"] == 6e6
    assert results["tf-text"] == {
        "rate": 3e6, "ratio": 2.0, "least": 1.0, "most": 3.0
    }  # fmt: skip
    assert results["tf-text with spans"]["ratio"] == 1.5
    report = tokenize.format_report({"mix": results})
    assert "| mix | tf-text | 3.00 | 2.00 | 1.00 to 3.00 |" in report


def test_the_mix_repeats_and_has_three_scripts():
    lines = tokenize.mixed_lines(5, seed=1)
    assert lines == tokenize.mixed_lines(5, seed=1)
    assert {len(line.split()) for line in lines} == {25}
    names = {unicodedata.name(c).split()[0] for c in "".join(lines)}
    assert names == {"SPACE", "LATIN", "CJK", "DEVANAGARI"}


@pytest.mark.slow
def test_every_side_runs_and_kberts_ids_are_those_of_tokenizers(tmp_path):
    vocab = tmp_path / "vocab.txt"
    specials = "[PAD] [UNK] [CLS] [SEP] [MASK]"
    vocab.write_text("\n".join(f"{specials} a b é ##b 一".split()), "utf-8")
    sides = tokenize.make_sides(vocab)
    lines = ["ab a", "b 一b é"]
    tokens, rounds = tokenize.run_rounds(sides, lines, 2)
    assert tokens == 7
    assert {len(seconds) for seconds in rounds.values()} == {2}
    (batch,) = tf.data.Dataset.from_tensors(lines)
    ids = {
        name: tf.function(side)(batch)[0].numpy().tolist()
        for name, side in sides.items()
    }
    assert len(ids) == 6
    assert ids["kbert"] == ids["kbert with spans"] == ids["tokenizers"]


def test_it_does_not_pass_for_pythons_own_module():
    # As when any benchmark is started by its path.
    code = "import sys; sys.path.insert(0, 'benchmarks'); import tokenize"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode and "python -m benchmarks.NAME" in done.stderr
