# SPDX-License-Identifier: Apache-2.0
"""HDF5 files whose arrays are more than their bytes."""

import struct

import h5py
import numpy as np
import pytest

from kbert.checkpoints.hdf5_files import count_numbers


def test_arrays_that_share_their_bytes(tmp_path):
    """As many as a file's header lists: each would become memory."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in ("a", "b"):
            file[name] = np.ones(1000, "float32")
        first, second = (file[name].id.get_offset() for name in ("a", "b"))
    data = bytearray(path.read_bytes())
    end = struct.pack("<Q", len(data))  # which the header states
    assert (data.count(end), second) == (1, first + 4000)
    offset = data.index(struct.pack("<QQ", second, 4000))
    data[offset : offset + 8] = struct.pack("<Q", first)
    path.write_bytes(data.replace(end, struct.pack("<Q", second))[:second])
    with h5py.File(path) as file:
        assert file["b"][:].tolist() == [1] * 1000
    with pytest.raises(ValueError, match="arrays of 8,000 bytes in a file of"):
        count_numbers(path)
