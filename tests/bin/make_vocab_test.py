# SPDX-License-Identifier: Apache-2.0
"""kbert-make-vocab, in a separate process."""

import gzip
import subprocess
import sys

from kbert.text.vocabulary import Vocabulary


def run(*flags):
    command = [sys.executable, "-m", "kbert.bin.make_vocab", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_learns_writes_and_says_so(tmp_path):
    (tmp_path / "a.txt").write_text("Ab Ab\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"Ab\n"))
    out = tmp_path / "out"
    code, stdout, stderr = run(
        f"--input={tmp_path}/*.txt*", f"--output_dir={out}", "--nolower_case"
    )
    assert (code, stderr) == (0, "")
    assert stdout == f"{out}/vocab.txt: 10 tokens, cased\n"
    learnt = Vocabulary.load(out / "vocab.txt")
    assert learnt.tokens[5:] == ("A", "b", "##A", "##b", "Ab")
    assert not learnt.lower_case


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "a.txt").write_text("Ab\n")
    output = f"--output_dir={tmp_path}/a.txt/out"
    code, stdout, stderr = run(f"--input={tmp_path}/a.txt", output)
    assert (code, stdout) == (1, "")
    assert stderr.count("\n") == 1 and "a.txt/out" in stderr
