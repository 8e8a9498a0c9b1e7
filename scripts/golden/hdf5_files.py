"""HDF5 files as other programs write them: what Lacuna can read of them, and what it must refuse."""

import hashlib

import h5py
import numpy as np

REQUIRES = "h5py numpy"


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def add(group, name, data, **options):
    dataset = group.create_dataset(name, data=data, **options)
    dataset.attrs["crc32c"] = np.int64(crc32c(data.tobytes()))
    return dataset


def compact(group, name, data):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple(data.shape)
    made = h5py.h5d.create(group.id, name.encode(), h5py.h5t.py_create(data.dtype), space, properties)
    h5py.Dataset(made)[...] = data
    h5py.Dataset(made).attrs["crc32c"] = np.int64(crc32c(data.tobytes()))


def storage_of_every_kind(path, libver, chunks):
    """One dataset per way to store it, each counting from 0; groups and attributes few and many."""
    with h5py.File(path, "w", libver=libver) as f:
        vector, matrix = np.arange(chunks, dtype="<i4"), np.arange(35 * 6, dtype="<i4").reshape(35, 6)
        add(f, "contiguous", vector)
        compact(f, "compact", vector[:20])
        add(f, "single", vector, chunks=(chunks,))
        add(f, "fixed", vector, chunks=(1,))
        add(f, "growing", vector, chunks=(1,), maxshape=(None,))
        add(f, "matrix", matrix, chunks=(4, 5))
        add(f, "matrix_growing", matrix, chunks=(4, 5), maxshape=(None, 6))
        add(f, "matrix_growing_both_ways", matrix, chunks=(4, 5), maxshape=(None, None))
        many = f.create_group("many")
        for i in range(60):
            add(many, f"a_long_name_so_that_they_need_several_blocks_of_the_heap_{i:03}",
                np.full(1, i, dtype="<i4"))
        for i in range(40):
            many.attrs[f"attribute_{i:03}"] = i
        if libver[0] == "v110":  # in older formats, attributes have less than 64 KiB
            many.attrs["large"] = np.bytes_("x" * 70_000)
        for depth in range(3):
            f.create_group("deep/" * (depth + 1))
        f["alias"] = f["contiguous"]
        f["soft"] = h5py.SoftLink("/contiguous")
        f["external"] = h5py.ExternalLink("hdf5_foreign.h5", "/plain")


def small_files(folder):
    """What fuzzing begins with (tests/fuzz): a file for each kind of structure, as small as can be."""
    folder.mkdir(parents=True, exist_ok=True)
    data = np.arange(12, dtype="<i4")
    for version in ("earliest", "v110"):
        def new(name):
            return h5py.File(folder / f"{name}_{version}.h5", "w", libver=(version, "v110"))
        with new("links") as f:
            for i in range(12):
                f.create_group(f"g{i}")
            add(f, "g0/d", data)
        with new("attributes") as f:
            for i in range(10):
                f.attrs[f"a{i}"] = [i, f"text {i}", i / 2, np.bytes_(f"fixed {i}")][i % 4]
        with new("chunks") as f:
            add(f, "fixed", data, chunks=(3,))
            add(f, "growing", data, chunks=(1,), maxshape=(None,))
            add(f, "both", data.reshape(3, 4), chunks=(2, 3), maxshape=(None, None))
            compact(f, "compact", data)
    with h5py.File(folder / "checkpoint.h5", "w", libver=("v110", "v110")) as f:
        for name in ("version", "step", "samples", "tokens", "bad_steps", "seed"):
            f.attrs[name] = np.int64(name == "version")
        for name, text in (("format", "lacuna-checkpoint"), ("config", "[model]"), ("tokenizer", "{}")):
            f.attrs[name] = np.bytes_(text)
        add(f, "model/w", np.ones((2, 3), dtype="<f4"))
        add(f, "optimizer/first_moment/w", np.ones((2, 3), dtype="<f4"))
    with h5py.File(folder / "tokens.h5", "w", libver=("v110", "v110")) as f:
        for name, value in (("version", 1), ("vocab_size", 20), ("mask_token", 3), ("eos_token", 4)):
            f.attrs[name] = np.int64(value)
        f.attrs["format"], f.attrs["tokenizer"] = np.bytes_("lacuna-tokens"), np.bytes_("{}")
        f.attrs["tokenizer_sha256"] = np.bytes_(hashlib.sha256(b"{}").hexdigest())
        add(f, "tokens", data, chunks=(8,), maxshape=(None,))
        add(f, "offsets", np.array([0, 5, 12]), chunks=(8,), maxshape=(None,))


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
    storage_of_every_kind(folder / "hdf5_earliest.h5", ("earliest", "v108"), 100)
    storage_of_every_kind(folder / "hdf5_v110.h5", ("v110", "v110"), 100)
    small_files(folder.parent / "fuzz" / "seeds" / "hdf5")
