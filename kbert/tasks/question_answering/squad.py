# SPDX-License-Identifier: Apache-2.0
"""Questions about paragraphs from JSON files of SQuAD 1.1 and 2.0.

The questions are in articles, in paragraphs, or one a row:

    article    {"paragraphs": [paragraph, ...]}
    paragraph  {"context": "...", "qas": [question, ...]}
    question   {"id": "...", "question": "...",
                "answers": [{"text": "...", "answer_start": 3}, ...]}
    row        a question that has its "context", as in the `datasets` library;
               its answers may be {"text": ["..."], "answer_start": [3]}

A file is {"data": [article, ...]}, a list, or JSON Lines, of any of the
three.
"""

import collections
import dataclasses
import json
import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, NamedTuple

from kbert.data import tables
from kbert.text import text_files

_MOST_WRONG = 0.01  # of the answers
_ID = re.compile(r'"id"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*)')
# Scripts that put no blanks between words: Thai, Lao, Tibetan, Burmese, Khmer,
# kana and Chinese characters.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff]"
)


class Answer(NamedTuple):
    """A span of a context.

    Attributes:
        text: a slice of the context.
        start: the character that it begins at.
    """

    text: str
    start: int


@dataclasses.dataclass(frozen=True)
class Questions:
    """The questions of one file.

    Attributes:
        path: the file.
        ids: of the questions, strings or numbers.
        questions: their texts.
        contexts: the paragraph of each.
        answers: the right ones of each question; empty if there is none.
        wrong: how many answers were left out, because they are not where the
            file says.
        dropped: how many questions had no other answers.
    """

    path: str
    ids: list[str | int | float]
    questions: list[str]
    contexts: list[str]
    answers: list[list[Answer]]
    wrong: int
    dropped: int

    @property
    def texts(self) -> tuple[list[str], list[str]]:
        """Questions and contexts, as a predictor takes them."""
        return self.questions, self.contexts

    @property
    def answer_texts(self) -> list[list[str]]:
        """The texts of each question's answers."""
        return [[answer.text for answer in some] for some in self.answers]

    def __len__(self) -> int:
        """The number of questions."""
        return len(self.ids)


def read_squad(
    path: str, encoding: str = "utf-8", *, labelled: bool = True
) -> Questions:
    """Reads the questions of a file.

    A question without answers has none; "is_impossible", if it is there, must
    say so too. An answer whose text is empty and whose start is 0 or -1 is
    none, unless "is_impossible" is false.

    Args:
        path: the file.
        encoding: of the file, as Python names it.
        labelled: whether to read the answers; if not, they are ignored and no
            question is left out.
    Raises: OSError; ValueError, naming the file, and the line and the
        question or the path in the JSON, for what is not of the encoding or
        not of this form, if more than 1 % of the answers are not at their
        answer_start, if two labelled questions have one id, or if there are
        none.
    """
    text = "\n".join(text_files.read_lines(path, encoding))
    lines = _lines_of_ids(text)
    found = Questions(path, [], [], [], [], 0, 0)
    total, wrong, dropped, first_wrong = 0, 0, 0, ""
    names = set()
    for context, name, qa in _qas(path, text):
        # Spelled with escapes, an "id" has no line.
        line = f":{lines[name].pop(0)}" if lines[name] else ""
        where = f"{path}{line}: question {name!r}"
        if labelled and str(name) in names:
            raise ValueError(
                f"{where}: another has this id; expected one, which names its "
                "answers."
            )
        names.add(str(name))
        question = _value(where, qa, "question", str)
        answers = _answers(where, qa) if labelled else []
        right = [
            answer
            for answer in answers
            if answer.text and context.startswith(answer.text, answer.start)
        ]
        total += len(answers)
        wrong += len(answers) - len(right)
        if len(right) < len(answers):
            first_wrong = first_wrong or where
        if answers and not right:
            dropped += 1
            continue
        found.ids.append(name)
        found.questions.append(question)
        found.contexts.append(context)
        found.answers.append(right)
    if wrong > _MOST_WRONG * total:
        raise ValueError(
            f"{first_wrong}: the text of an answer is not at its "
            f"answer_start; this is so for {wrong:,} of {total:,} answers, "
            f"more than {_MOST_WRONG:.0%}."
        )
    if not found.ids:
        raise ValueError(f"{path}: no questions.")
    return dataclasses.replace(found, wrong=wrong, dropped=dropped)


def whole_words(context: str, answer: Answer) -> Answer:
    """The answer with the words whole that it begins or ends inside of.

    A word is made of letters, digits and their marks; in a script that puts
    no blanks between words there are none.

    Example: "199" in "In the 1990s." is "1990s".
    """
    start, end = answer.start, answer.start + len(answer.text)
    while answer.text and _is_inside_word(context, start):
        start -= 1
    while answer.text and _is_inside_word(context, end):
        end += 1
    return Answer(context[start:end], start)


def _is_inside_word(text: str, position: int) -> bool:
    """Whether the characters before and at a position are of one word."""
    pair = text[position - 1 : position + 1] if position else ""
    return (
        len(pair) == 2
        and all(unicodedata.category(x)[0] in "LMN" for x in pair)
        and not _UNSPACED.search(pair)
    )


def _elements(path: str, text: str) -> Iterator[tuple[str, Any]]:
    """Articles, paragraphs or rows, each with its path in the file."""
    first = next((x for x in text.split("\n") if x.strip()), "")
    try:
        tree = json.loads(text)
    except ValueError as error:
        if not _is_object(first):
            raise _no_json(path, error) from None
        yield from _json_lines(path, text)
        return
    except RecursionError:
        raise ValueError(f"{path}: not JSON of SQuAD: too deep.") from None
    if isinstance(tree, dict) and {"paragraphs", "qas", "context"} & {*tree}:
        tree = [tree]
    if isinstance(tree, list):
        yield from ((f"{path}: [{i}]", x) for i, x in enumerate(tree))
        return
    for i, element in enumerate(_value(path, tree, "data", list)):
        yield f"{path}: data[{i}]", element


def _is_object(line: str) -> bool:
    """Whether a line is a JSON object by itself."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _json_lines(path: str, text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield f"{path}:{number}", json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}:{number}: not JSON: {error.msg}."
            ) from None
        except (ValueError, RecursionError):
            raise ValueError(f"{path}:{number}: not JSON of SQuAD.") from None


def _no_json(path: str, error: ValueError) -> ValueError:
    if not isinstance(error, json.JSONDecodeError):
        # A number of thousands of digits.
        return ValueError(f"{path}: not JSON of SQuAD: {error}.")
    return ValueError(
        f"{path}:{error.lineno}: not JSON: {error.msg}; expected SQuAD's "
        "JSON, or a list or JSON Lines of questions with their contexts."
    )


def _lines_of_ids(text: str) -> dict[str, list[int]]:
    """The lines of each id of a JSON text, in their order."""
    found, line, seen = collections.defaultdict(list), 1, 0
    for match in _ID.finditer(text):
        line += text.count("\n", seen, match.start())
        seen = match.start()
        found[json.loads(match[1])].append(line)
    return found


def _qas(path: str, text: str) -> Iterator[tuple[str, Any, dict]]:
    """Each question after its context and its id."""
    for where, element in _elements(path, text):
        keys = {*element} if isinstance(element, dict) else set()
        if "qas" not in keys and {"question", "context"} & keys:  # a row
            context = _value(where, element, "context", str)
            yield context, _id(where, element), element
        elif "qas" in keys:
            yield from _qas_of_paragraph(where, element)
        else:
            for j, paragraph in enumerate(
                _value(where, element, "paragraphs", list)
            ):
                yield from _qas_of_paragraph(
                    f"{where}.paragraphs[{j}]", paragraph
                )


def _qas_of_paragraph(where, paragraph):
    context = _value(where, paragraph, "context", str)
    for k, qa in enumerate(_value(where, paragraph, "qas", list)):
        yield context, _id(f"{where}.qas[{k}]", qa), qa


def _id(where: str, qa: Any) -> str | int | float:
    if isinstance(qa, dict) and type(qa.get("id")) in (int, float):
        if math.isfinite(qa["id"]):
            return qa["id"]
    return _value(where, qa, "id", str)


def _answers(where: str, qa: Any) -> list[Answer]:
    impossible = None
    if "is_impossible" in qa:
        impossible = _value(where, qa, "is_impossible", bool)
    found = []
    for answer in _answer_objects(where, qa, impossible):
        text = _value(where, answer, "text", str)
        start = _value(where, answer, "answer_start", int)
        may_be_none = impossible is None and start in (0, -1)
        if not text and (impossible or may_be_none):
            continue
        if start < 0:
            raise ValueError(
                f"{where}: 'answer_start' is {start}; expected 0 or more."
            )
        found.append(Answer(text, start))
    if impossible is not None and impossible == bool(found):
        raise ValueError(
            f"{where}: 'is_impossible' is {json.dumps(impossible)}, but "
            f"there are {len(found)} answers."
        )
    return found


def answers_of(found: Any, context: str, row: int) -> list[Answer]:
    """The answers of a question from a list, not from a file.

    Args:
        found: {"text": [...], "answer_start": [...]}, a list of {"text",
            "answer_start"}, or None for no answer.
        context: that they are slices of.
        row: number of the question, from 1, for errors.
    Raises: ValueError, naming the row.
    """
    where = f"Row {row}"
    answers = _answers(where, {"answers": found or []})
    for answer in answers:
        if not context.startswith(answer.text, answer.start):
            raise ValueError(
                f"{where}: the context has not {answer.text!r} at character "
                f"{answer.start}."
            )
    return answers


def _answer_objects(where: str, qa: Any, impossible: bool | None) -> list:
    """{"text", "answer_start"} of each answer."""
    if impossible and "answers" not in qa:
        return []
    columns = qa.get("answers")
    if not isinstance(columns, dict):
        return _value(where, qa, "answers", list)
    texts = _value(where, columns, "text", list)
    starts = _value(where, columns, "answer_start", list)
    if len(texts) != len(starts):
        raise ValueError(
            f"{where}: 'answers' have {len(texts)} texts and {len(starts)} "
            "of 'answer_start'; expected as many."
        )
    pairs = zip(texts, starts, strict=True)
    return [{"text": text, "answer_start": start} for text, start in pairs]


def _value(where: str, parent: Any, key: str, kind: type) -> Any:
    if not isinstance(parent, dict):
        raise ValueError(
            f"{where}: {_short(parent)}; expected an object with {key!r}."
        )
    if key not in parent:
        raise ValueError(f"{where}: no {key!r}; there are {list(parent)}.")
    value = parent[key]
    if type(value) is not kind:
        raise ValueError(
            f"{where}: {key!r} is {_short(value)}; expected {_NAMES[kind]}."
        )
    if kind is str:
        tables.check_text(f"{where}: {key!r}", value)
    return value


_NAMES = {
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    list: "a list",
}


def _short(value) -> str:
    return json.dumps(value)[:40]
