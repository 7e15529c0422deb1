# SPDX-License-Identifier: Apache-2.0
"""The numbers that define one BERT architecture, and the file they live in."""

import dataclasses
import importlib.resources
import json
import math
import os
import pathlib
import typing
from collections.abc import Mapping
from typing import Any

ACTIVATIONS = ("gelu", "gelu_erf", "relu")
POSITION_EMBEDDINGS = ("learned", "sinusoidal")

_PROBABILITIES = ("hidden_dropout_prob", "attention_probs_dropout_prob")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig:
    """One architecture and the vocabulary properties that belong to it.

    The defaults are those of BERT base (Devlin et al. 2019,
    arXiv:1810.04805, section 3). Field names are those of the published
    `bert_config.json`; the last five are kbert's own, and so is
    tie_word_embeddings, which Hugging Face has too. Two fields have no
    default: the vocabulary decides them.

    Raises: TypeError for an unknown field, ValueError for a field of another
        type or outside its range, naming the field.
    """

    vocab_size: int
    lower_case: bool  # uncased: lower-cased, accents stripped
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"  # the tanh form, as in the published code
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True  # the masked-LM output: the token table
    layer_norm_epsilon: float = 1e-12
    position_embedding: str = "learned"  # or "sinusoidal", which is fixed
    # Of the masked-LM output, where KerasHub has others than in the encoder.
    mlm_hidden_act: str | None = None
    mlm_layer_norm_epsilon: float | None = None

    def __post_init__(self):
        """Checks each field, then those that depend on another."""
        for field in dataclasses.fields(self):
            _check_value(field, getattr(self, field.name))
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} does not "
                f"divide hidden_size {self.hidden_size}."
            )
        if self.position_embedding == "sinusoidal" and self.hidden_size % 2:
            raise ValueError(
                f"hidden_size {self.hidden_size} is odd; sinusoidal position "
                "embeddings need an even one."
            )

    @property
    def num_encoder_weights(self) -> int:
        """Trained numbers of the encoder, its pooler left out."""
        width, inner = self.hidden_size, self.intermediate_size
        rows = self.vocab_size + self.type_vocab_size
        if self.position_embedding == "learned":
            rows += self.max_position_embeddings
        attention = 4 * width * (width + 1)
        feed_forward = inner * (width + 1) + width * (inner + 1)
        norms = 2 * 2 * width
        block = attention + feed_forward + norms
        return width * (rows + 2) + self.num_hidden_layers * block

    @classmethod
    def from_json(
        cls,
        path: str | os.PathLike,
        *,
        vocab_size: int | None = None,
        lower_case: bool | None = None,
    ) -> "BertConfig":
        """Reads a JSON file of fields, or a packaged one by its bare name.

        Args:
            path: a file, or a name such as "tiny" for the file of that name
                that is installed with the package.
            vocab_size: number of tokens, when the file leaves it out.
            lower_case: casing, when the file leaves it out.
        Raises: ValueError, naming the file and the field; OSError.
        """
        file = _find(path)
        fields = read_fields(file)
        given = {"vocab_size": vocab_size, "lower_case": lower_case}
        for name, value in given.items():
            if value is None:
                continue
            if fields.setdefault(name, value) != value:
                raise ValueError(
                    f"{file}: {name} is {fields[name]!r}, but the vocabulary "
                    f"has {value!r}."
                )
        _check_names(file, fields)
        try:
            return cls(**fields)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None

    def to_json(self, path: str | os.PathLike) -> None:
        """Writes every field; `from_json` reads the file back equal."""
        text = json.dumps(dataclasses.asdict(self), indent=2) + "\n"
        pathlib.Path(path).write_text(text, encoding="utf-8")


def _find(path: str | os.PathLike) -> pathlib.Path:
    file = pathlib.Path(path)
    if file.name != str(path) or file.suffix or file.exists():
        return file
    models = importlib.resources.files("kbert.configs") / "models"
    named = pathlib.Path(str(models)) / f"{path}.json"
    if not named.exists():
        names = sorted(entry.stem for entry in named.parent.glob("*.json"))
        raise ValueError(f"{path}: neither a file nor one of {names}.")
    return named


def read_fields(file: pathlib.Path) -> dict[str, Any]:
    """The fields of a JSON object in a file.

    Raises: ValueError, naming the file, if it holds anything else; OSError.
    """
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    # Not UTF-8, not JSON, or nested without end.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not a JSON file: {error}.") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{file}: wanted a JSON object of fields.")
    return fields


def _check_names(file: pathlib.Path, fields: Mapping[str, Any]) -> None:
    known = {field.name: field for field in dataclasses.fields(BertConfig)}
    if unknown := sorted(fields.keys() - known.keys()):
        raise ValueError(f"{file}: unknown fields {unknown}.")
    required = {
        name
        for name, field in known.items()
        if field.default is dataclasses.MISSING
    }
    if missing := sorted(required - fields.keys()):
        raise ValueError(f"{file}: fields {missing} are missing.")


def _check_value(field: dataclasses.Field, value: Any) -> None:
    if field.default is None and value == field.default:
        return
    alternatives: Any = typing.get_args(field.type)  # (str, None), or none
    wanted: Any = alternatives[0] if alternatives else field.type
    is_right = type(value) is wanted  # True is an int, but not here
    if not is_right and not (wanted is float and type(value) is int):
        raise ValueError(
            f"{field.name} is {value!r}; wanted {wanted.__name__}."
        )
    if field.name in _PROBABILITIES:
        if not 0 <= value < 1:
            raise ValueError(f"{field.name} is {value}; wanted 0 <= p < 1.")
    elif wanted in (int, float) and not 0 < value < math.inf:
        raise ValueError(f"{field.name} is {value}; wanted more than 0.")
    choices = {
        "hidden_act": ACTIVATIONS,
        "mlm_hidden_act": ACTIVATIONS,
        "position_embedding": POSITION_EMBEDDINGS,
    }.get(field.name)
    if choices and value not in choices:
        raise ValueError(f"{field.name} is {value!r}; wanted one of {choices}.")
