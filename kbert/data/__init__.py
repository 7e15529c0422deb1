# SPDX-License-Identifier: Apache-2.0
"""Training data, from text files to batches.

Pre-training: record_writer.py makes records with the settings of
record_options.py, in the processes of workers.py, in a folder that a killed
run can resume. documents.py tokenizes the text. record_rows.py makes rows:
sentence_pairs.py or full_sentences.py choose passages, masking.py masks
tokens, records.py stores the rows and record_statistics.py counts them.
record_sets.py finds the records again, and pretraining.py turns them into
batches and masks rows that are not masked yet.

Fine-tuning: tables.py reads the rows of TSV, CSV and JSON Lines files,
finetuning.py turns them into batches.
"""
