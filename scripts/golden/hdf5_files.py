"""An HDF5 file as another program writes it: what Lacuna can read of it, and what it must refuse."""

import h5py
import numpy as np

REQUIRES = "h5py numpy"


def make(folder):
    with h5py.File(folder / "hdf5_foreign.h5", "w") as f:
        f.attrs["text"] = "h5py's strings are of variable length: \u00e9"
        f.attrs["fixed"] = np.bytes_("fixed")
        f.attrs["small"] = np.int8(-5)
        f.attrs["number"] = np.float32(0.5)
        f.attrs["list"] = [1, 2, 3]
        f.create_dataset("plain", data=np.arange(6, dtype="<f4").reshape(2, 3))
        packed = np.arange(1000, dtype="<i4")
        f.create_dataset("packed", data=packed, chunks=(100,), compression="gzip", shuffle=True)
        f.create_dataset("big_endian", data=np.arange(3, dtype=">f4"))
        f.create_dataset("int8", data=np.arange(3, dtype="i1"))
        f.create_dataset("half", data=np.array([1.5, -2], dtype="<f2"))
        f.create_dataset("five", data=np.zeros((1, 1, 1, 1, 1), dtype="<f4"))
        f.create_dataset("complex", data=np.zeros(2, dtype="<c8"))
        f["dangling"] = h5py.SoftLink("/nowhere")
