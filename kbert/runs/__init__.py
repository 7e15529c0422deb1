# SPDX-License-Identifier: Apache-2.0
"""What a command does between its flags and its model folder or file.

These take plain arguments, print what they do, and see no flag.
"""
