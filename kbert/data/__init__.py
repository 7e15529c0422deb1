# SPDX-License-Identifier: Apache-2.0
"""Data for training, from text files to batches.

Pre-training: record_writer.py makes records, as record_options.py says, in
the processes of workers.py and a folder that is resumed. It has documents.py
read the text into token ids, and record_rows.py make rows: sentence_pairs.py
or full_sentences.py choose passages, masking.py hides tokens, records.py
stores the rows and record_statistics.py counts what they hold. record_sets.py
finds such records again, and pretraining.py turns them into batches, and
masks rows that are not masked yet.

Fine-tuning: tables.py reads the rows of TSV, CSV and JSON Lines files,
finetuning.py turns them into batches.
"""
