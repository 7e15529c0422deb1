# SPDX-License-Identifier: Apache-2.0
"""Text to features: files, vocabulary, tokenizer and packing."""
