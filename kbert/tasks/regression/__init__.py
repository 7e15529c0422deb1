# SPDX-License-Identifier: Apache-2.0
"""A number for a text or a pair."""
