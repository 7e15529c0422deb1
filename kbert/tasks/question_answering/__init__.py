# SPDX-License-Identifier: Apache-2.0
"""Questions whose answers are spans of a text."""
