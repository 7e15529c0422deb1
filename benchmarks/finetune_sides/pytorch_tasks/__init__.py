# SPDX-License-Identifier: Apache-2.0
"""The tasks in PyTorch and transformers, one file for each head.

Each has
    training_rows(data, tokenizer): lists of ids and labels, and label names;
    make_model(run, labels): transformers' model with a new head;
    outputs(found): the model's outputs, in kbert's form;
    answers(model, data, tokenizer, labels): predictions for the dev file, in
        kbert's form, as far as the scores need them.
and, where rows are not single lists of ids, pad(rows, pad_id): a batch.
Files are read with kbert's readers, which do not need TensorFlow.
"""
