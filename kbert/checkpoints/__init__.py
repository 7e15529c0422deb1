# SPDX-License-Identifier: Apache-2.0
"""Models on disk: kbert's own folder, and one foreign format a file."""
