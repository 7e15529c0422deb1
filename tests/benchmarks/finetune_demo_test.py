# SPDX-License-Identifier: Apache-2.0
import pathlib

import pytest

from benchmarks import finetune_demo, finetune_runs
from benchmarks.finetune_sides import Result
from examples import movie_sentences


def _row(accuracy, seconds):
    return {
        "scores": {"accuracy": accuracy},
        "epoch_seconds": seconds,
        "versions": {},
        "processor": "P",
    }


def test_report_has_means_errors_and_ratios():
    report = finetune_demo.format_report(
        {
            "pytorch": [_row(0.80, [200.0]), _row(0.90, [300.0])],
            "kbert": [_row(0.86, [90.0, 110.0]), _row(0.88, [100.0])],
        }
    )
    assert "| pytorch | 2 | 0.8500 | 0.0500 | 250 | 0.40 |" in report
    assert "| kbert | 2 | 0.8700 | 0.0100 | 100 | 1.00 |" in report
    # sqrt(0.05 ** 2 + 0.01 ** 2) is 0.05099.
    assert "+0.0200 from pytorch's; two standard errors" in report
    assert "difference are 0.1020." in report


def test_runs_that_are_kept_are_not_run_again(tmp_path, monkeypatch):
    def run(function, *args):
        if function is finetune_runs._scores:
            return {"accuracy": 0.5}
        side, run = args
        assert pathlib.Path(run.data.train) == files[0]
        asked.append((side, run.seed, run.epochs))
        if asked[-1] == ("kbert", 1, 1) and len(asked) == 2:
            raise KeyboardInterrupt
        return Result(answers=[], epoch_seconds=[1.0], versions={})

    asked = []
    files = [tmp_path / "train.tsv", tmp_path / "dev.tsv"]
    monkeypatch.setattr(movie_sentences, "prepare", lambda folder: files)
    monkeypatch.setattr(finetune_runs, "in_new_process", run)
    monkeypatch.setattr(finetune_runs, "model_folder", lambda: "model")
    flags = ["", f"--output_dir={tmp_path}", "--sides=kbert", "--seeds=3"]
    monkeypatch.setattr("sys.argv", flags)
    with pytest.raises(KeyboardInterrupt):
        finetune_demo.main()
    finetune_demo.main()
    assert [seed for _, seed, _ in asked] == [0, 1, 1, 2]
    monkeypatch.setattr("sys.argv", [*flags, "--epochs=2"])
    finetune_demo.main()
    assert asked[4:] == [("kbert", seed, 2) for seed in range(3)]
