# SPDX-License-Identifier: Apache-2.0
"""A TextServer as a SavedModel that needs nothing outside itself."""

import json
import os
import pathlib
import shutil
import tempfile

import tensorflow as tf

from kbert.serving.text_server import TextServer

LABELS_FILE = "labels.json"  # the classes' names, if any, as an asset


def export(
    server: TextServer,
    base_dir: str | os.PathLike,
    version: int | None = None,
) -> pathlib.Path:
    """Writes base_dir/<version>/, complete or not at all.

    The signature `serving_default` takes and gives what the task's server
    names; a tagger has another for lists of words.
    Vocabulary, casing and class names are assets, for whoever wants to read
    them; the graph holds its own. Loading it takes the ops of
    tensorflow_text.

    TensorFlow Serving looks into `base_dir` every second and passes over
    names that are no number: the folder has such a name until it is done.

    Args:
        server: what to export.
        base_dir: one folder for all versions of a model.
        version: 1 or more; by default one more than the highest there is.
    Returns: the version's folder.
    Raises: ValueError if the version is there already or below 1; OSError.
    """
    base = pathlib.Path(base_dir).resolve()
    base.mkdir(parents=True, exist_ok=True)
    present = {int(p.name) for p in base.iterdir() if p.name.isdecimal()}
    if version is None:
        version = 1 + max(present, default=0)
    if version < 1:
        raise ValueError(f"Version {version}; wanted 1 or more.")
    if version in present:
        raise ValueError(
            f"{base}: version {version} is there already; the next free one "
            f"is {1 + max(present)}."
        )
    partial = base / f"partial-{version}-{os.getpid()}"
    try:
        with tempfile.TemporaryDirectory() as assets:
            server.assets = _write_assets(server, pathlib.Path(assets))
            tf.saved_model.save(server, partial, signatures=server.signatures())
        os.rename(partial, base / str(version))
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return base / str(version)


def _write_assets(server, folder) -> list[tf.saved_model.Asset]:
    server.vocabulary.save(folder)
    if server.spec.labels:
        text = json.dumps(list(server.spec.labels), ensure_ascii=False) + "\n"
        (folder / LABELS_FILE).write_text(text, encoding="utf-8")
    return [tf.saved_model.Asset(path) for path in sorted(folder.iterdir())]
