# SPDX-License-Identifier: Apache-2.0
"""Makes data for three tasks from the questions in a SQuAD file.

    python examples/squad_sentences.py train-v1.1.json out/squad_sentences

writes choices.csv for multiple choice: a question and four sentences of its
paragraph, one of which contains the answer (columns question, choice0 to
choice3, and label, the index of the correct one); candidates.csv for
reranking: the same, the correct one first (columns question, positive, and
negative0 to negative2); and summaries.jsonl for summarization: the sentences
of a paragraph, labelled 1 if they contain an answer. Paragraphs of fewer than
four sentences are left out.
"""

import csv
import json
import pathlib
import random
import sys

from kbert.bin import standard_streams
from kbert.data.documents import split_sentences

_CHOICES = 4


def main(squad: str, folder: str) -> None:
    """Writes the files."""
    tree = json.loads(pathlib.Path(squad).read_text("utf-8"))
    choices, summaries = [], []
    draw = random.Random(0)
    for paragraph in (p for x in tree["data"] for p in x["paragraphs"]):
        spans = sentence_spans(paragraph["context"])
        if len(spans) < _CHOICES:
            continue
        sentences = [paragraph["context"][a:b].strip() for a, b in spans]
        questions = list(_questions(paragraph, spans))
        choices += [
            [question, *_choices(sentences, correct, draw)]
            for question, correct in questions
        ]
        with_answer = {correct for _, correct in questions}
        labels = [int(i in with_answer) for i in range(len(spans))]
        summaries.append({"sentences": sentences, "labels": labels})
    output = pathlib.Path(folder)
    output.mkdir(parents=True, exist_ok=True)
    header = ["question", *(f"choice{i}" for i in range(_CHOICES)), "label"]
    _write_csv(output / "choices.csv", [header, *choices])
    header = ["question", "positive"]
    header += [f"negative{i}" for i in range(_CHOICES - 1)]
    candidates = [
        [question, found.pop(label), *found]
        for question, *found, label in choices
    ]
    _write_csv(output / "candidates.csv", [header, *candidates])
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in summaries]
    (output / "summaries.jsonl").write_text("".join(lines), encoding="utf-8")
    for name in ("choices.csv", "candidates.csv"):
        print(f"{output}/{name}: {len(choices):,} questions")
    print(f"{output}/summaries.jsonl: {len(summaries):,} paragraphs")


def _write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def _questions(paragraph, spans):
    """Yields each question with an answer, and the index of its sentence."""
    for question in paragraph["qas"]:
        for answer in question["answers"][:1]:
            at = answer["answer_start"]
            (correct,) = (i for i, (a, b) in enumerate(spans) if a <= at < b)
            yield question["question"], correct


def _choices(sentences, correct, draw):
    """Returns four of the sentences, and the index of the correct one."""
    others = [i for i in range(len(sentences)) if i != correct]
    chosen = [correct, *draw.sample(others, _CHOICES - 1)]
    draw.shuffle(chosen)
    return [*(sentences[i] for i in chosen), chosen.index(correct)]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Returns spans of sentences that cover all of the text.

    Example: "One. Two." gives [(0, 5), (5, 9)].
    """
    starts, at = [], 0
    for sentence in split_sentences(text):
        at = text.index(sentence, at)
        starts.append(at)
        at += len(sentence)
    starts[:1] = [0]
    return list(zip(starts, [*starts[1:], len(text)], strict=True))


if __name__ == "__main__":
    with standard_streams.utf8_until_closed():
        main(*sys.argv[1:])
