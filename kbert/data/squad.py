# SPDX-License-Identifier: Apache-2.0
"""Questions about paragraphs from JSON files of SQuAD 1.1 and 2.0."""

import collections
import dataclasses
import json
import re
from typing import Any, NamedTuple

from kbert.data import tables
from kbert.text import files

_MOST_WRONG = 0.01  # of the answers
_ID = re.compile(r'"id"\s*:\s*("(?:[^"\\]|\\.)*")')


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
        ids: of the questions.
        questions: their texts.
        contexts: the paragraph of each.
        answers: those that are right for each; none if there is none.
        wrong: how many answers were left out, for they do not stand where
            the file says.
        dropped: how many questions had no others.
    """

    path: str
    ids: list[str]
    questions: list[str]
    contexts: list[str]
    answers: list[list[Answer]]
    wrong: int
    dropped: int

    @property
    def texts(self) -> tuple[list[str], list[str]]:
        """Questions and contexts, as a server takes them."""
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
    """Reads {"data": [{"paragraphs": [{"context", "qas": [...]}]}]}.

    Each of "qas" has "id", "question" and "answers", a list of {"text",
    "answer_start"}. Without answers a question has none, which
    "is_impossible", where it stands, must say too.

    Args:
        path: the file.
        encoding: of the file, as Python names it.
        labelled: whether the answers are wanted; if not, what is there is not
            looked at, and no question is left out.
    Raises: OSError; ValueError, naming the file, and the line and the
        question or the place, for what is not of the encoding or not of this
        form, if more than 1 % of the answers do not stand at their
        answer_start, if two labelled questions have one id, or if there are
        none.
    """
    text = "\n".join(files.read_lines(path, encoding))
    tree, lines = _tree(path, text), _lines_of_ids(text)
    found = Questions(path, [], [], [], [], 0, 0)
    total, wrong, dropped, first_wrong = 0, 0, 0, ""
    names = set()
    for context, name, qa in _qas(path, tree):
        # Spelled with escapes, an "id" has no line.
        line = f":{lines[name].pop(0)}" if lines[name] else ""
        where = f"{path}{line}: question {name!r}"
        if labelled and name in names:
            raise ValueError(
                f"{where}: another has this id; wanted one, whose answers "
                "are told by it."
            )
        names.add(name)
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
        found.ids.append(qa["id"])
        found.questions.append(question)
        found.contexts.append(context)
        found.answers.append(right)
    if wrong > _MOST_WRONG * total:
        raise ValueError(
            f"{first_wrong}: the text of an answer is not what stands at its "
            f"answer_start; so it is with {wrong:,} of {total:,} answers, "
            f"more than {_MOST_WRONG:.0%}."
        )
    if not found.ids:
        raise ValueError(f"{path}: no questions.")
    return dataclasses.replace(found, wrong=wrong, dropped=dropped)


def _tree(path: str, text: str) -> Any:
    """The JSON of a file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}:{error.lineno}: not JSON: {error.msg}."
        ) from None
    except RecursionError:
        raise ValueError(f"{path}: not JSON of SQuAD: too deep.") from None
    except ValueError as error:  # a number of thousands of digits
        raise ValueError(f"{path}: not JSON of SQuAD: {error}.") from None


def _lines_of_ids(text: str) -> dict[str, list[int]]:
    """The lines of each id of a JSON text, in their order."""
    found, line, seen = collections.defaultdict(list), 1, 0
    for match in _ID.finditer(text):
        line += text.count("\n", seen, match.start())
        seen = match.start()
        found[json.loads(match[1])].append(line)
    return found


def _qas(path, tree):
    """Each question with its context and its id."""
    for i, article in enumerate(_value(path, tree, "data", list)):
        where = f"{path}: data[{i}]"
        for j, paragraph in enumerate(
            _value(where, article, "paragraphs", list)
        ):
            place = f"{where}.paragraphs[{j}]"
            context = _value(place, paragraph, "context", str)
            for k, qa in enumerate(_value(place, paragraph, "qas", list)):
                name = _value(f"{place}.qas[{k}]", qa, "id", str)
                yield context, name, qa


def _answers(where, qa) -> list[Answer]:
    found = []
    for answer in _value(where, qa, "answers", list):
        text = _value(where, answer, "text", str)
        start = _value(where, answer, "answer_start", int)
        if start < 0:
            raise ValueError(
                f"{where}: 'answer_start' is {start}; wanted 0 or more."
            )
        found.append(Answer(text, start))
    if "is_impossible" in qa:
        impossible = _value(where, qa, "is_impossible", bool)
        if impossible == bool(found):
            raise ValueError(
                f"{where}: 'is_impossible' is {json.dumps(impossible)}, but "
                f"there are {len(found)} answers."
            )
    return found


def _value(where: str, parent: Any, key: str, wanted: type) -> Any:
    if not isinstance(parent, dict):
        raise ValueError(
            f"{where}: {_short(parent)}; wanted an object with {key!r}."
        )
    if key not in parent:
        raise ValueError(f"{where}: no {key!r}; there are {list(parent)}.")
    value = parent[key]
    if type(value) is not wanted:
        raise ValueError(
            f"{where}: {key!r} is {_short(value)}; wanted {_NAMES[wanted]}."
        )
    if wanted is str:
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
