# SPDX-License-Identifier: Apache-2.0
import importlib.util

import pytest
from absl import flags

from benchmarks import make_records


@pytest.fixture
def own_flags():
    """Takes away the flags that Model Garden's module defines: ours too."""
    before = set(flags.FLAGS)
    yield
    for flag in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, flag)


def test_ratios_are_to_the_peer_with_the_same_tokens():
    rounds = {
        "model_garden": [{"seconds": 40.0, "rows": 9, "peak_mb": 900.0}] * 2,
        "kbert": [
            {
                "seconds": s,
                "rows": 8,
                "tokens": 2e6,
                "peak_mb": 300.0,
                "growth_mb": 9,
            }
            for s in (4.0, 4.0, 8.0)
        ],
        "kbert_repeated": [
            {"seconds": 10.0, "rows": 80, "tokens": 2e7, "peak_mb": 310.0}
        ],
    }
    results = make_records.summarize(rounds)
    assert {name: r["ratio"] for name, r in results.items()} == {
        "model_garden": 1.0,
        "kbert": 10.0,
        "kbert_repeated": 40.0,
    }
    report = make_records.format_report(rounds)
    assert "| kbert | 2.00 | 8 | 4.0 | 500,000 | 10.0 | 300 | 9 |" in report


@pytest.mark.skipif(
    importlib.util.find_spec("official") is None, reason="no Model Garden"
)
@pytest.mark.slow
def test_both_sides_run_on_the_same_text(tmp_path, monkeypatch, own_flags):
    monkeypatch.setattr("os.sched_setaffinity", lambda *arguments: None)
    for name in ("pretrain", "vocab"):
        (tmp_path / name).mkdir()
    document = "the film\nwas good\nbad\n" * 30
    (tmp_path / "pretrain" / "a.txt").write_text(f"{document}\n{document}")
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] the film was good bad"
    vocab = tmp_path / "vocab" / "bert-base-uncased-vocab.txt"
    vocab.write_text("\n".join(words.split()) + "\n")
    peer, kbert, repeated = (
        make_records.run_side(side, tmp_path, 3)
        for side in ("model_garden", "kbert", "kbert_repeated")
    )
    assert (kbert["tokens"], repeated["tokens"]) == (300, 900)
    assert 0 < abs(peer["rows"] - kbert["rows"]) + 1 < 4


def test_growth_counts_from_the_start_of_the_work():
    growth = make_records.Growth()
    growth("Reading text", 2, 100)
    before = bytearray(b"1") * 50_000_000
    growth("Reading text", 3, 100)
    assert growth.megabytes == 0
    after = bytearray(b"1") * 80_000_000
    growth("Writing records", 0, 100)
    assert 75 < growth.megabytes < 100
    assert len(before) < len(after)
