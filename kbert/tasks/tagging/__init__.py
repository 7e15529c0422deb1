# SPDX-License-Identifier: Apache-2.0
"""Entities among words, or classes of words."""
