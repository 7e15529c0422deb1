# SPDX-License-Identifier: Apache-2.0
"""kbert-make-records: its flags reach the records, counts are shown."""

import json

import pytest


@pytest.fixture
def run(tmp_path, vocabulary, call):
    """Calls the command on two documents."""
    vocabulary.save(tmp_path)
    (tmp_path / "text.txt").write_text("the film\nwas good\n\nbad\nnot\nlonger")

    def run(*more):
        return call(
            "make_records",
            f"--input={tmp_path}/*t.txt",
            f"--vocab={tmp_path}/vocab.txt",
            f"--output_dir={tmp_path}/records",
            *more,
        )

    return run


def test_flags_reach_the_records_and_counts_are_shown(run, tmp_path):
    out = run("--max_seq_length=24", "--max_predictions=3", "--seed=9")
    lines = [line.split() for line in out.splitlines()]
    assert lines[:3] == [
        [f"{tmp_path}/records:"],
        ["documents", "2"],
        ["sentences", "5"],
    ]
    counts = {" ".join(line[:1]): line for line in lines[1:]}
    rows, true_next = int(counts["rows"][1]), int(counts["true"][2])
    share = f"{true_next / rows:.1%}"
    assert (
        counts["true"] == f"true next {true_next} {share} of the rows".split()
    )
    manifest = json.loads((tmp_path / "records" / "records.json").read_text())
    made_with = {name: manifest[name] for name in list(manifest)[4:16]}
    assert made_with == {
        "max_seq_length": 24,
        "max_predictions": 3,
        "masked_lm_prob": 0.15,
        "whole_words": False,
        "max_ngram": 1,
        "short_seq_prob": 0.1,
        "next_sentence": True,
        "packed": False,
        "masked": True,
        "dupe_factor": 1,
        "num_shards": 16,
        "seed": 9,
    }


def test_a_contradicting_casing_is_refused(run):
    with pytest.raises(ValueError, match="lower_case"):
        run("--nolower_case")
