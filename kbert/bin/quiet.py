# SPDX-License-Identifier: Apache-2.0
"""Keeps off stderr what libraries say about themselves.

A command's stderr is for its own words. Who sets TF_CPP_MIN_LOG_LEVEL, or
Python's warning options, sees what they ask for.
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
    """Sets what has to be set before TensorFlow and Keras are imported."""
    os.environ.setdefault(_LEVEL, _FATAL_ONLY)
    for name in ("tensorflow", "apache_beam"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:  # neither -W nor PYTHONWARNINGS
        warnings.simplefilter("ignore")


class TensorFlowFinder(importlib.abc.MetaPathFinder):
    """Sends file descriptor 2 away while TensorFlow starts.

    On a machine without a GPU it writes there, when it is imported and when
    it first looks for devices ("failed call to cuInit"), some of it before it
    looks at TF_CPP_MIN_LOG_LEVEL. An exception still gets out.
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
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        load(module)
        module.config.list_physical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
