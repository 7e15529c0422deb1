# SPDX-License-Identifier: Apache-2.0
"""Exports a trained model as a SavedModel, as kbert-export does.

python export/export_savedmodel.py --model=DIR --output_dir=BASE
"""

from kbert.bin.export import cli

if __name__ == "__main__":
    cli()
