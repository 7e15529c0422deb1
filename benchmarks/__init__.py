# SPDX-License-Identifier: Apache-2.0
"""Compares kbert with its peers; run as `python -m benchmarks.NAME`."""
