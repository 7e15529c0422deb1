# SPDX-License-Identifier: Apache-2.0
"""From text to answers, in Python and as a SavedModel."""
