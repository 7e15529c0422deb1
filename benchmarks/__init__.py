# SPDX-License-Identifier: Apache-2.0
"""Comparisons of kbert with its peers; run as `python -m benchmarks.NAME`."""
