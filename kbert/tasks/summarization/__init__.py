# SPDX-License-Identifier: Apache-2.0
"""The sentences of a document that are its summary."""
