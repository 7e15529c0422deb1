# SPDX-License-Identifier: Apache-2.0
"""Raw text to vectors, in kbert and in its peers, one file each.

Each module has `prepare(model)`, which writes missing files to the folder of a
`Model`, and `make(model) -> answer`, which returns a function from a list of
texts to (B, H) float32, the mean of each text's tokens in the top layer. Both
need new processes. Rows are truncated to `LONGEST` tokens.
"""

import pathlib
from typing import NamedTuple

LONGEST = 128  # tokens of a row, [CLS] and [SEP] counted
THREADS = 2
# In `Model.work`: kbert's versions, and the same encoder on token ids.
KBERT, WITHOUT_TEXT = "kbert", "without_text"


class Model(NamedTuple):
    """An encoder as files.

    Attributes:
        hugging_face: folder of transformers' BertModel and its tokenizer.
        work: folder for what is made of it.
    """

    hugging_face: pathlib.Path
    work: pathlib.Path
