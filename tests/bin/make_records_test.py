# SPDX-License-Identifier: Apache-2.0
"""kbert-make-records: its flags reach the records, counts are shown."""

import json
import sys

import pytest
from absl import app


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


# A path that is not there keeps Beam from downloading another runner.
BEAM = ("--runner=DirectRunner", "--", "--prism_location=none")


def test_beam_makes_the_same_records(run, tmp_path):
    pytest.importorskip("apache_beam")
    run("--num_shards=2")
    local = (tmp_path / "records").rename(tmp_path / "local")
    out = run("--num_shards=2", *BEAM, "--direct_num_workers=2")
    assert out.startswith(f"{tmp_path}/records:\n  documents")
    files = sorted(file.name for file in local.iterdir())
    assert len(files) == 5
    for file in files:
        same = (local / file).read_bytes()
        assert (tmp_path / "records" / file).read_bytes() == same


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([*BEAM, "--direct_number=2"], "'--direct_number=2'. unknown to Beam"),
        ([*BEAM, "oops"], "'oops'. unknown to Beam"),
        ([*BEAM, "--direct_num_workers=two"], "invalid int value: 'two'"),
        ([*BEAM, "--runner=FlinkRunner"], "--runner is after the --"),
        (["--runner=Nobody"], "--runner=Nobody: Unexpected pipeline runner"),
        (["--runner=apache_beam.Nobody"], "has no attribute 'Nobody'"),
    ],
)
def test_flags_that_beam_does_not_take(run, tmp_path, flags, message):
    pytest.importorskip("apache_beam")
    with pytest.raises(ValueError, match=message):
        run(*flags)
    assert not list(tmp_path.glob("records*"))


def test_beam_and_processes_exclude_each_other(run):
    with pytest.raises(app.UsageError, match="--num_workers=2 and --runner"):
        run("--num_workers=2", *BEAM)
    with pytest.raises(app.UsageError, match="num_workers=2.*need --runner"):
        run("--", "--direct_num_workers=2")


def test_beam_that_is_missing_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "kbert.data.beam_workers", raising=False)
    with pytest.raises(ValueError, match=r"pip install 'kbert-keras\[beam\]'"):
        run(*BEAM)
