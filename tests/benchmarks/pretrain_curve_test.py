# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from benchmarks import pretrain_curve
from kbert.data import record_writer

pytest.importorskip("transformers")


@pytest.fixture
def records(vocabulary, tmp_path):
    """A folder of records, their masked words hard to guess at first."""
    text = "\n\n".join(["the film was good .\nnot very long .\n"] * 40)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    record_writer.make_records(
        [str(tmp_path / "text.txt")],
        str(tmp_path / "records"),
        vocabulary=vocabulary,
        options=record_writer.RecordOptions(
            max_seq_length=16,
            max_predictions=3,
            masked_lm_prob=0.15,
            whole_words=False,
            max_ngram=1,
            short_seq_prob=0.1,
            next_sentence=True,
            packed=False,
            masked=True,
            dupe_factor=1,
            num_shards=1,
            seed=0,
        ),
    )
    return str(tmp_path / "records")


def test_all_sides_begin_and_stay_together(
    records, tiny_config, tmp_path, monkeypatch, capsys
):
    tiny_config.to_json(tmp_path / "config.json")
    monkeypatch.setattr(
        pretrain_curve, "_in_new_process", lambda call, *args: call(*args)
    )
    flags = {
        "sides": ",".join(pretrain_curve.SIDES),
        "records": records,
        "held_out": records,
        "output_dir": tmp_path / "out",
        "model_config": tmp_path / "config.json",
        "steps": 6,
        "score_every": 4,
        "batch_size": 8,
    }
    given = ["", *(f"--{name}={value}" for name, value in flags.items())]
    monkeypatch.setattr("sys.argv", given)
    pretrain_curve.main()
    assert (tmp_path / "out/curves.png").stat().st_size > 1000
    table = capsys.readouterr().out
    curves = {}
    for side in pretrain_curve.SIDES:
        assert f"| {side} | 6 |" in table
        lines = (tmp_path / f"out/{side}.jsonl").read_text().splitlines()
        curves[side] = [json.loads(line) for line in lines]
        assert [point["step"] for point in curves[side]] == [0, 4, 6]
    for name in ("mlm_loss", "nsp_loss"):
        own, peers, rounded = (
            [p[name] for p in curve] for curve in curves.values()
        )
        np.testing.assert_allclose(own, peers, atol=1e-4)
        np.testing.assert_allclose(own, rounded, atol=0.02)
        assert own != rounded  # the products are in bfloat16
    monkeypatch.setattr("sys.argv", [*given, "--steps=5"])
    with pytest.raises(SystemExit, match="give another --output_dir"):
        pretrain_curve.main()
    own = [point["mlm_loss"] for point in curves["kbert"]]
    assert own[-1] < own[0] - 1e-3  # the steps matter
