# SPDX-License-Identifier: Apache-2.0
"""Data for training, from text files to batches.

Pre-training: record_writer.py makes records. It has documents.py read the
text into token ids, sentence_pairs.py choose pairs of passages, masking.py
hide tokens and records.py store the rows. record_sets.py finds such records
again, and pretraining.py turns them into batches, and masks rows that are
not masked yet.

Fine-tuning: tables.py reads the rows of TSV, CSV and JSON Lines files,
finetuning.py turns them into batches.
"""
