# SPDX-License-Identifier: Apache-2.0
"""Whether one text follows another."""
