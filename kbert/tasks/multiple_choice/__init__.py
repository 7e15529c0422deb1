# SPDX-License-Identifier: Apache-2.0
"""Texts with several choices, one of them right."""
