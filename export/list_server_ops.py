# SPDX-License-Identifier: Apache-2.0
"""Prints the ops that a TensorFlow Serving links.

It makes the files of kbert/serving/server_ops/. A server links the ops of the
packages tensorflow and tensorflow-text. Run it where the server's versions are
installed (for servers 2.12 to 2.19: tensorflow-cpu 2.12.0 and tensorflow-text
2.12.1, on Python 3.11):

    python export/list_server_ops.py > kbert/serving/server_ops/2.12.txt
"""

import signal

import tensorflow as tf
import tensorflow_text
from tensorflow.python.framework import kernels

signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a closed pipe ends it
print(f"# tensorflow {tf.__version__}, tensorflow-text", end=" ")
print(f"{tensorflow_text.__version__}: ops that have a kernel on the processor")
found = kernels.get_all_registered_kernels().kernel
for op in sorted({x.op for x in found if x.device_type in ("CPU", "DEFAULT")}):
    print(op)
