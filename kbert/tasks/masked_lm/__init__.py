# SPDX-License-Identifier: Apache-2.0
"""Tokens for the [MASK]s of a text."""
