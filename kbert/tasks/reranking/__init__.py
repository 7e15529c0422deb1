# SPDX-License-Identifier: Apache-2.0
"""Scores of how well texts answer a query."""
