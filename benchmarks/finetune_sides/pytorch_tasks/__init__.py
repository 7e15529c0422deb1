# SPDX-License-Identifier: Apache-2.0
"""What PyTorch and transformers do for each task, one file for each head.

Each has
    training_rows(data, tokenizer): lists of ids and labels, and label names;
    make_model(run, labels): transformers' model with a new head;
    outputs(found): what the model gives, in the form of kbert's;
    answers(model, data, tokenizer, labels): of the dev file, as kbert gives
        them, as far as scores want them.
and, where rows are no single lists of ids, pad(rows, pad_id): a batch.
Files are read by kbert's readers, which need no TensorFlow.
"""
