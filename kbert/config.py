# SPDX-License-Identifier: Apache-2.0
"""BertConfig: the numbers that define one BERT architecture."""

import dataclasses
import importlib.resources
import json
import os
import pathlib
import typing
from typing import Annotated, Literal

from kbert import json_files
from kbert.json_files import Range

Activation = Literal["gelu", "gelu_erf", "relu"]
ACTIVATIONS = typing.get_args(Activation)
MAX_SEQ_LENGTH = 2**17  # far above any model's

_PROBABILITY = Range(at_least=0, less_than=1)
_EPSILON = Range(more_than=0, less_than=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig:
    """One architecture and the properties of its vocabulary.

    The defaults are those of BERT base (Devlin et al. 2019,
    arXiv:1810.04805, section 3). Field names are those of the published
    `bert_config.json`, except that lower_case, tie_word_embeddings (also in
    Hugging Face) and the last four are kbert's. The first two fields have no
    default: they depend on the vocabulary.

    Raises: TypeError for an unknown field; ValueError, naming the field, for
        one that has the wrong type or is out of range.
    """

    vocab_size: Annotated[int, Range(at_least=1, at_most=2**24)]
    lower_case: bool  # uncased: lower-cased, accents stripped
    hidden_size: Annotated[int, Range(at_least=1, at_most=2**16)] = 768
    num_hidden_layers: Annotated[int, Range(at_least=1, at_most=256)] = 12
    num_attention_heads: Annotated[int, Range(at_least=1, at_most=2**16)] = 12
    intermediate_size: Annotated[int, Range(at_least=1, at_most=2**20)] = 3072
    hidden_act: Activation = "gelu"  # the tanh form, as in the published code
    hidden_dropout_prob: Annotated[float, _PROBABILITY] = 0.1
    attention_probs_dropout_prob: Annotated[float, _PROBABILITY] = 0.1
    max_position_embeddings: Annotated[
        int, Range(at_least=1, at_most=MAX_SEQ_LENGTH)
    ] = 512
    type_vocab_size: Annotated[int, Range(at_least=1, at_most=2**16)] = 2
    initializer_range: Annotated[float, Range(more_than=0, at_most=10)] = 0.02
    tie_word_embeddings: bool = True  # masked-LM output matrix: token table
    layer_norm_epsilon: Annotated[float, _EPSILON] = 1e-12
    # "sinusoidal" ones are not trained.
    position_embedding: Literal["learned", "sinusoidal"] = "learned"
    # For the masked-LM head, where KerasHub's differ from the encoder's.
    mlm_hidden_act: Activation | None = None
    mlm_layer_norm_epsilon: Annotated[float, _EPSILON] | None = None

    def __post_init__(self):
        """Checks each field, then fields that depend on each other."""
        json_files.check(dataclasses.asdict(self), BertConfig, "")
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
        """The number of trainable weights of the encoder without its pooler."""
        width, inner = self.hidden_size, self.intermediate_size
        rows = self.vocab_size + self.type_vocab_size
        if self.position_embedding == "learned":
            rows += self.max_position_embeddings
        attention = 4 * width * (width + 1)
        feed_forward = inner * (width + 1) + width * (inner + 1)
        norms = 2 * 2 * width
        block = attention + feed_forward + norms
        return width * (rows + 2) + self.num_hidden_layers * block

    def with_dropout(self, dropout: float | None) -> "BertConfig":
        """With this dropout of hidden states and attention, if not None."""
        if dropout is None:
            return self
        return dataclasses.replace(
            self,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )

    @classmethod
    def from_json(
        cls,
        path: str | os.PathLike,
        *,
        vocab_size: int | None = None,
        lower_case: bool | None = None,
    ) -> "BertConfig":
        """Reads a JSON file of fields, or a packaged config by its name.

        Args:
            path: a file, or a name such as "tiny" for a config that is
                installed with the package.
            vocab_size: number of tokens, if the file does not have it.
            lower_case: casing, if the file does not have it.
        Raises: ValueError, naming the file and the field; OSError.
        """
        file = _find(path)
        fields = json_files.read(file)
        given = {"vocab_size": vocab_size, "lower_case": lower_case}
        for name, value in given.items():
            if value is None:
                continue
            if fields.setdefault(name, value) != value:
                raise ValueError(
                    f"{file}: {name} is {fields[name]!r}, but the vocabulary "
                    f"has {value!r}."
                )
        json_files.check(fields, cls, file)
        try:
            return cls(**fields)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None

    def to_json(self, path: str | os.PathLike) -> None:
        """Writes all fields as JSON; `from_json` reads them back."""
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
