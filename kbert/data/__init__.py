# SPDX-License-Identifier: Apache-2.0
"""Data for training: text files to records to batches, all in the graph.

Pre-training: documents.py reads text into token ids, sentence_pairs.py
chooses pairs of passages in them, masking.py hides tokens, records.py stores
the rows, and pretraining.py ties these together and reads rows as batches.
"""
