# SPDX-License-Identifier: Apache-2.0
"""Losses and optimizer for `model.fit` and for the commands' own loop."""
