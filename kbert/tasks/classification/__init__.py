# SPDX-License-Identifier: Apache-2.0
"""Classes of texts and pairs."""
