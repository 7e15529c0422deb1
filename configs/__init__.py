# SPDX-License-Identifier: Apache-2.0
"""Data only; installed as kbert.configs, so that a name finds its file.

This file makes it a package: an editable install finds no other kind.
"""
