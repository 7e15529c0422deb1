# SPDX-License-Identifier: Apache-2.0
"""What a training command does between its flags and its model folder.

These take plain arguments, print what they do, and see no flag.
"""
