# SPDX-License-Identifier: Apache-2.0
"""SavedModels for TensorFlow Serving: signatures, checks and warm-up."""
