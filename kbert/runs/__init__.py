# SPDX-License-Identifier: Apache-2.0
"""The work of the commands, from their options to a model folder or file.

These take plain arguments, print what they do, and see no flag.
"""
