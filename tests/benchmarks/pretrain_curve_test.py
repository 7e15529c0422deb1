# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from benchmarks import pretrain_curve

pytest.importorskip("transformers")


@pytest.mark.slow
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
        "validation": records,
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
