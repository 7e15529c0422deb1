# SPDX-License-Identifier: Apache-2.0
"""For pyright: anything may be in TensorFlow.

The stubs that pyright would bring lack much of it and reject right calls.
"""

from typing import Any

def __getattr__(name: str) -> Any: ...
