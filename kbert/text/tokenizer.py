# SPDX-License-Identifier: Apache-2.0
"""Text to token ids inside the TensorFlow graph."""

import tensorflow as tf
import tensorflow_text as tf_text

from kbert.text.vocabulary import UNK, Vocabulary

# What BERT deletes: control characters but tab and newlines, format and
# private-use characters, and U+FFFD.
_DELETED = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}\p{Cf}\p{Co}\x{fffd}]"
_ACCENTS = r"\p{Mn}"  # of decomposed text


class Tokenizer(tf.Module):
    """BERT's tokenizer: clean, split into words, cut words into pieces.

    Call: texts (B,) string -> RaggedTensor (B, None) int32.

    Cleaning follows google-research/bert: control characters are deleted
    and, uncased, text is decomposed (NFD), loses its accents and is
    lower-cased. FastBertTokenizer can do this too, but maps more (NFKC: "½"
    to "1⁄2", "…" to "..."), so the ids would not be those that published
    weights were trained on. Bytes that are not UTF-8 are deleted. A word of
    more than 400 bytes is [UNK]; in google-research/bert it is one of more
    than 200 characters.

    Source: Devlin et al. 2019, arXiv:1810.04805, section 3; Song et al.
    2021, arXiv:2012.15524, for the algorithm.
    """

    def __init__(self, vocabulary: Vocabulary):
        super().__init__(name="tokenizer")
        self.vocabulary = vocabulary
        self._pieces = tf_text.FastBertTokenizer(
            list(vocabulary.tokens),
            token_out_type=tf.int32,
            unknown_token=UNK,
            lower_case_nfd_strip_accents=False,
            max_bytes_per_word=400,
        )

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        # Bytes that are not UTF-8 become U+FFFD here.
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8")
        texts = tf.strings.regex_replace(texts, _DELETED, "")
        if self.vocabulary.lower_case:
            texts = tf_text.normalize_utf8(texts, "NFD")
            texts = tf.strings.regex_replace(texts, _ACCENTS, "")
            texts = tf.strings.lower(texts, encoding="utf-8")
        return self._pieces.tokenize(texts)
