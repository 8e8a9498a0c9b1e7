"""Parquet files in every codec, page version and encoding of texts, by pyarrow; and their texts."""

REQUIRES = "pyarrow"

import json


def texts():
    words = ["", "in", "the beginning", "God", "créa", "le ciel 地", "and\nthe earth", '"quoted"']
    rows = [" ".join(words[(i * j + i) % 8] for j in range(i % 5)) for i in range(240)]
    rows += ["a prefix that many share, " + str(i) for i in range(60)] + ["long " * 400]
    return [None if i % 11 == 3 else row for i, row in enumerate(rows)]


def make(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, full = texts(), [row or "" for row in texts()]
    expected = {}

    def write(name, column, column_name="text", of=None, **options):
        field = column_name.split(".")[0]
        schema = pa.schema([("id", pa.int64()),
                            pa.field(field, column.type, nullable=name != "required")])
        table = pa.table([pa.array(range(len(column))), column], schema=schema)
        options = {"row_group_size": 100, "data_page_size": 512, "write_batch_size": 16, **options}
        pq.write_table(table, folder / f"parquet_{name}.parquet", **options)
        expected[name] = {"column": column_name}
        if of is not None:
            expected[name]["texts"] = of

    strings = pa.array(rows, pa.string())
    for codec in ("none", "snappy", "gzip", "brotli", "lz4", "zstd"):
        write(codec, strings, compression=codec)
        write(f"{codec}_v2", strings, compression=codec, data_page_version="2.0",
              use_dictionary=False)
    for encoding in ("PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"):
        write(encoding.lower(), strings, use_dictionary=False, column_encoding={"text": encoding})
    write("checksums", strings, write_page_checksum=True, compression="none")
    # A dictionary that grows too large is given up within a row group.
    write("mixed", strings, dictionary_pagesize_limit=256, row_group_size=400)
    write("required", pa.array(full, pa.string()), of=full)
    write("large_string", pa.array(rows, pa.large_string()))
    write("binary", pa.array([None if r is None else r.encode() for r in rows], pa.binary()))
    write("nulls", pa.array([None] * 50, pa.string()), of=[None] * 50)
    write("empty", pa.array([], pa.string()), of=[])
    inside = [None if i % 7 == 5 else {"text": row, "n": i} for i, row in enumerate(rows)]
    write("nested", pa.array(inside, pa.struct([("text", pa.string()), ("n", pa.int64())])),
          "meta.text", of=[None if s is None else s["text"] for s in inside])
    write("lists", pa.array([["a", "b"]] * 3, pa.list_(pa.string())), "list.list.element", of=[])
    (folder / "parquet.json").write_text(json.dumps({"texts": rows, "files": expected}))
