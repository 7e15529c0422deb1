# SPDX-License-Identifier: Apache-2.0
"""Answers in paragraphs: BertForQuestionAnswering."""

from typing import Any

import torch
import transformers

from benchmarks.finetune_sides import Data, Run, pytorch
from kbert.tasks.question_answering import squad

_WINDOWS_AT_ONCE = 32
# As in transformers' example run_qa.py.
_OVERLAP, _BEST, _LONGEST_ANSWER = 128, 20, 30


def training_rows(
    data: Data, tokenizer: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    """Ids of each window, and where the first answer starts and ends in it.

    Where a window does not hold it, both are [CLS].
    """
    questions = squad.read_squad(data.train)
    encoded = _encode(data, tokenizer, *questions.texts)
    rows = []
    for window, index in enumerate(encoded["overflow_to_sample_mapping"]):
        start = end = 0
        if some := questions.answers[index]:
            first = some[0].start
            last = first + len(some[0].text) - 1
            start, end = _tokens(encoded, window, first, last)
        rows.append(
            {
                "input_ids": encoded["input_ids"][window],
                "token_type_ids": encoded["token_type_ids"][window],
                "start_positions": start,
                "end_positions": end,
            }
        )
    return rows, []


def _tokens(encoded: Any, window: int, first: int, last: int):
    """The tokens of two characters of the context, or twice [CLS]."""
    start = encoded.char_to_token(window, first, sequence_index=1)
    end = encoded.char_to_token(window, last, sequence_index=1)
    return (0, 0) if start is None or end is None else (start, end)


def make_model(run: Run, labels: list[str]) -> torch.nn.Module:
    """With start and end vectors."""
    return transformers.BertForQuestionAnswering.from_pretrained(run.model)


def outputs(found: Any) -> torch.Tensor:
    """The logits of starts and ends, (B, 2, S)."""
    return torch.stack([found.start_logits, found.end_logits], 1)


def answers(
    model: torch.nn.Module, data: Data, tokenizer: Any, labels: list[str]
) -> list[dict[str, Any]]:
    """The best span of all windows, and how much less likely it is than none.

    "answer" is that span; where there may be none, the scores that count are
    those with the best threshold, which take "answers" and the score.
    """
    texts = squad.read_squad(data.dev).texts
    encoded = _encode(data, tokenizer, *texts)
    best = [(float("-inf"), "")] * len(texts[0])
    none = [float("inf")] * len(texts[0])
    count = len(encoded["input_ids"])
    order = sorted(range(count), key=lambda i: len(encoded["input_ids"][i]))
    for at in range(0, count, _WINDOWS_AT_ONCE):
        windows = order[at : at + _WINDOWS_AT_ONCE]
        rows = [
            {k: encoded[k][i] for k in ("input_ids", "token_type_ids")}
            for i in windows
        ]
        found = model(**pytorch.pad(rows, tokenizer.pad_token_id))
        for window, logits in zip(windows, outputs(found), strict=True):
            index = encoded["overflow_to_sample_mapping"][window]
            none[index] = min(none[index], float(logits[:, 0].sum()))
            span = _best_span(encoded, window, logits, texts[1][index])
            best[index] = max(best[index], span)
    return [
        {
            "answer": text,
            "answers": [{"text": text}],
            "no_answer_score": null - score,
        }
        for (score, text), null in zip(best, none, strict=True)
    ]


def _best_span(encoded, window, logits, context) -> tuple[float, str]:
    """The score and the text of the best pair of the best starts and ends."""
    spans = encoded["offset_mapping"][window]
    allowed = [x == 1 for x in encoded.sequence_ids(window)]
    starts, ends = (
        [i for i in row.topk(min(_BEST, len(row))).indices.tolist()]
        for row in logits[:, : len(spans)]
    )
    found = [(float("-inf"), "")]
    for i in starts:
        for j in ends:
            if allowed[i] and allowed[j] and 0 <= j - i < _LONGEST_ANSWER:
                score = float(logits[0, i] + logits[1, j])
                found.append((score, context[spans[i][0] : spans[j][1]]))
    return max(found)


def _encode(data: Data, tokenizer: Any, questions: Any, contexts: Any) -> Any:
    return tokenizer(
        questions,
        contexts,
        truncation="only_second",
        max_length=data.options["max_seq_length"],
        stride=_OVERLAP,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
