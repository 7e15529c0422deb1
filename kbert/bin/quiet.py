# SPDX-License-Identifier: Apache-2.0
"""Suppresses the messages of libraries on stderr.

TF_CPP_MIN_LOG_LEVEL and Python's warning options take precedence.
"""

import functools
import importlib.abc
import importlib.util
import logging
import os
import sys
import warnings

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_FATAL_ONLY = "3"


def quieten_libraries() -> None:
    """Sets log levels; call it before TensorFlow and Keras are imported."""
    os.environ.setdefault(_LEVEL, _FATAL_ONLY)
    for name in ("tensorflow", "apache_beam"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:  # neither -W nor PYTHONWARNINGS
        warnings.simplefilter("ignore")


class TensorFlowFinder(importlib.abc.MetaPathFinder):
    """Redirects file descriptor 2 to /dev/null while TensorFlow starts.

    On a machine without a GPU TensorFlow writes to it on import and when it
    first searches for devices ("failed call to cuInit"), partly before it
    reads TF_CPP_MIN_LOG_LEVEL. Exceptions are still raised.
    """

    def find_spec(self, fullname, path, target=None):
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec and spec.loader and os.environ.get(_LEVEL) == _FATAL_ONLY:
            load = functools.partial(_load_silently, spec.loader.exec_module)
            spec.loader.exec_module = load
        return spec


def _load_silently(load, module):
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 2)
    try:
        load(module)
        module.config.list_physical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
