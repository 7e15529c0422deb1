# SPDX-License-Identifier: Apache-2.0
"""The tables of the comparison, by hand."""

from benchmarks import tasks


def _rows(scores, seconds):
    return [
        {
            **{"scores": x, "epoch_seconds": seconds},
            **{"versions": {"a": "1"}, "processor": "P"},
        }
        for x in scores
    ]


def test_means_differences_and_ratios():
    report = tasks.format_scores(
        {
            "MRPC": {
                "kbert": _rows(
                    [
                        {"f1": 0.5, "accuracy": 0.8},
                        {"f1": 0.7, "accuracy": 0.8},
                    ],
                    [30.0, 50.0],
                ),
                "pytorch": _rows(
                    [
                        {"f1": 0.4, "accuracy": 0.9},
                        {"f1": 0.4, "accuracy": 0.9},
                    ],
                    [100.0],
                ),
            }
        }
    )
    assert report.splitlines()[-2:] == [
        "| MRPC | f1 | 2 | 0.6000 | 0.4000 | +0.2000 | 0.2000 "
        "| 40 | 100 | 0.40 |",
        "| MRPC | accuracy | 2 | 0.8000 | 0.9000 | -0.1000 | 0.0000 "
        "| 40 | 100 | 0.40 |",
    ]


def test_runs_on_two_processors_are_reported():
    rows = _rows([{"f1": 0.5}], [30.0])
    others = [{**rows[0], "processor": "Q", "versions": {"b": "2"}}]
    report = tasks.format_scores(
        {"WNUT-17": {"kbert": rows, "pytorch": others}}
    )
    about, versions, *_ = report.splitlines()
    assert about.rstrip() == "P; Q."
    assert versions.endswith("a 1, b 2.")


def test_steps_are_kept(tmp_path, monkeypatch, capsys):
    asked = []

    def compare(run):
        asked.append(run.data.task)
        return {
            **{"head": "Bert", "difference": 2e-4, "agree": 0.995},
            **{"predictions": 1200, "versions": {"b": "2"}},
        }

    monkeypatch.setattr(tasks.same_steps, "compare", compare)
    monkeypatch.setattr(tasks.finetune_runs, "model_folder", lambda: "model")
    flags = ["--proof=steps", "--sets=MRPC,SICK relatedness"]
    folders = [f"--data_dir={tmp_path}", f"--output_dir={tmp_path}"]
    monkeypatch.setattr("sys.argv", ["", *flags, *folders])
    for _ in range(2):
        tasks.main()
        report = capsys.readouterr().out
        assert "| MRPC | Bert | 2.0e-04 | 99.50% | 1,200 |" in report
    assert asked == ["classification", "regression"]
