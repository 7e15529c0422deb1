# SPDX-License-Identifier: Apache-2.0
"""From text to model inputs: files, vocabulary, tokenizer and packing."""
