# SPDX-License-Identifier: Apache-2.0
"""The outputs of pre-training: what stands at a [MASK], what follows."""

import dataclasses
import math
from typing import Any

import tensorflow as tf

from kbert import features
from kbert.data import batching, record_batches
from kbert.data.batching import Examples
from kbert.data.masking import Masking, mask_tokens
from kbert.tasks import inputs
from kbert.tasks.masked_lm.predictor import PROBABILITY, NextSentencePredictor
from kbert.tasks.shared_blocks import SharedBlocks
from kbert.tasks.task import Task
from kbert.text.packing import pack
from kbert.training import loop, losses

_TASKS = ("masked_lm", "pretraining", "next_sentence")
_MASKED = 0.15  # of the tokens: Devlin et al. 2019, arXiv:1810.04805, 3.1


class MaskedLM(Task):
    """Tokens for the [MASK]s of a text, and whether one text follows another.

    `predict` gives {"masks": [{token: probability}, ...]} for each text, the
    best five tokens for each [MASK]; of a model that has the next-sentence
    output alone it takes a tuple of two lists and gives {"probability"}.
    `fit` trains the masked-LM output on texts, which adapts a model to their
    kind: 15 % of the tokens are masked, others in each epoch. There are no
    labels. `evaluate` gives its loss and perplexity on texts, which are
    masked in the same way each time. To train from the beginning, with next
    sentences: kbert-pretrain.

    Example:
        model = kbert.MaskedLM.from_pretrained("bert-base-uncased")
        model.predict(["Paris is the [MASK] of France."])
        model.fit(reports, epochs=1)
    """

    task = "masked_lm"

    @classmethod
    def _spec_for(cls, loaded, labels, num_texts, max_seq_length, settings):
        """The pre-training outputs that the model has, or a new masked LM."""
        if loaded.spec.task not in _TASKS:
            return super()._spec_for(
                loaded, labels, num_texts, max_seq_length, settings
            )
        if labels is not None:
            raise ValueError(f"labels={list(labels)}: {cls.task} has none.")
        length = max_seq_length or loaded.spec.max_seq_length
        spec = loaded.spec.with_settings(**settings)
        return dataclasses.replace(spec, max_seq_length=length)

    def losses(self):
        """By output, as training minimizes them."""
        return self._of_outputs(losses.pretraining_losses())

    def metrics(self):
        """By output, new ones, as `fit` shows them."""
        return self._of_outputs(losses.pretraining_metrics())

    def _of_outputs(self, by_output):
        return {name: by_output[name] for name in self.keras_model.output}

    def evaluate(
        self, x: Any, y: Any = None, *, batch_size: int = 32
    ) -> dict[str, float]:
        """The masked-LM loss, accuracy and perplexity (e to the loss).

        Args:
            x: texts, as `fit` takes them.
            y: None.
            batch_size: rows at once.
        """
        name = features.MLM_LOGITS
        found = loop.evaluate(
            self.keras_model,
            self.dataset(x, y, batch_size=batch_size),
            losses={name: self.losses()[name]},
            metrics={name: self.metrics()[name]},
        )
        return {**found, "mlm_perplexity": math.exp(found["mlm_loss"])}

    def next_sentence(self, pairs: Any, *, batch_size: int = 32) -> list[float]:
        """How probably the second text of each pair follows the first.

        Args:
            pairs: a tuple of two lists of texts.
            batch_size: rows at once.
        Raises: ValueError if the model has no next-sentence output.
        """
        if features.NSP_LOGITS not in self.keras_model.output:
            raise ValueError("The model has no next-sentence output.")
        predictor = NextSentencePredictor(
            SharedBlocks().of(self.keras_model),
            vocabulary=self.vocabulary,
            spec=self.spec,
        )
        found = predictor.predict(*inputs.columns(pairs), batch_size=batch_size)
        return [row[PROBABILITY] for row in found]

    def _examples(self, x, y, sample_weight, class_weight) -> Examples:
        """Texts, each a row."""
        for name, given in {
            "y": y,
            "sample_weight": sample_weight,
            "class_weight": class_weight,
        }.items():
            if given is not None:
                raise ValueError(f"{name}: masked texts have no labels.")
        if self.spec.task == "next_sentence":
            raise ValueError("The model has no masked-LM output to train.")
        (texts,) = inputs.texts(x, 1)
        if not texts:
            raise ValueError("Got no rows.")
        length = self.spec.max_seq_length
        parts = batching.map_in_chunks(
            {"text": tf.constant(texts)},
            lambda rows: {"tokens": self.tokenizer(rows["text"])},
        )
        lengths = tf.cast(parts["tokens"].row_lengths(), tf.int32) + 2

        def to_batch(rows):
            packed, _ = pack(
                rows["tokens"], vocabulary=self.vocabulary, seq_length=length
            )
            return (packed,)

        return Examples(
            parts=parts, lengths=tf.minimum(lengths, length), to_batch=to_batch
        )

    def _batches(self, examples, batch_size, seed, first_step=0):
        """Masked by the seed and the number of the step."""
        length = self.spec.max_seq_length
        masking = Masking(
            max_predictions=max(1, math.ceil(_MASKED * length)),
            masked_lm_prob=_MASKED,
            whole_words=False,
            max_ngram=1,
        )
        base = tf.constant([seed or 0, seed is not None], tf.int64)

        def masked(number, batch):
            (packed,) = batch
            rows = packed | mask_tokens(
                packed["token_ids"],
                packed["padding_mask"],
                vocabulary=self.vocabulary,
                masking=masking,
                seed=tf.random.fold_in(base, number),
            )
            return self._without_next_sentence(record_batches.batch_of(rows))

        batches = super()._batches(examples, batch_size, seed, first_step)
        return batches.enumerate(first_step).map(masked)

    def _without_next_sentence(self, batch):
        """Labels that count nothing, for an output that is not trained."""
        model_inputs, labels, weights = batch
        if features.NSP_LOGITS in self.keras_model.output:
            none = tf.zeros_like(model_inputs["token_ids"][:, 0])
            labels = {**labels, features.NSP_LOGITS: none}
            weights = {
                **weights,
                features.NSP_LOGITS: tf.cast(none, tf.float32),
            }
        return model_inputs, labels, weights
