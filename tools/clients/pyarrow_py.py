"""PyArrow: the C++ SDK of AWS below its own file system; datasets of Parquet files."""

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from common import *

BUCKET = "pyarrow"
fs = pafs.S3FileSystem(
    access_key=ACCESS_KEY,
    secret_key=SECRET_KEY,
    region=REGION,
    endpoint_override=ENDPOINT.removeprefix("http://"),
    scheme="http",
    allow_bucket_creation=True,
    allow_bucket_deletion=True,
    background_writes=True,
)
# Its paths have no empty segment and no slash at their end; a segment of one dot it signs and then leaves out of the request.
KEYS = [key for key in ODD_KEYS[:-1] if "//" not in key and key[0] != "/" and key[-1] != "/" and key != "./dot"]


def write(path, data):
    with fs.open_output_stream(f"{BUCKET}/{path}") as stream:
        stream.write(data)


def read(path):
    with fs.open_input_stream(f"{BUCKET}/{path}") as stream:
        return stream.read()


def objects():
    fs.create_dir(BUCKET)
    check("bucket", fs.get_file_info(BUCKET).type, pafs.FileType.Directory)
    for size in SIZES:
        data = body(size, 8)
        write(f"size/{size}", data)
        check_bytes(f"read of {size}", read(f"size/{size}"), data)
        check(f"info of {size}", fs.get_file_info(f"{BUCKET}/size/{size}").size, size)
    data = body(20 * MIB + 3, 8)
    with fs.open_input_file(f"{BUCKET}/size/{20 * MIB + 3}") as file:
        for offset, length in [(0, 1), (1, 100_000), (MIB - 1, 7 * MIB), (20 * MIB, 100)]:
            check_bytes("range", file.read_at(length, offset), data[offset:offset + length])
    for i, key in enumerate(KEYS):
        write(f"odd/{key}", str(i).encode())
    for i, key in enumerate(KEYS):
        check(f"key {key!r}", read(f"odd/{key}"), str(i).encode())
    infos = fs.get_file_info(pafs.FileSelector(f"{BUCKET}/odd", recursive=True))
    files = {i.path.removeprefix(f"{BUCKET}/odd/") for i in infos if i.type == pafs.FileType.File}
    check("odd keys are listed", files, set(KEYS))
    check("missing", fs.get_file_info(f"{BUCKET}/missing").type, pafs.FileType.NotFound)
    try:
        read("missing")
        check("read of a missing key", "found", "FileNotFoundError")
    except FileNotFoundError:
        pass


def files():
    data = body(35 * MIB + 1, 9)
    with fs.open_output_stream(f"{BUCKET}/multi", metadata={"Content-Type": "a/b"}) as stream:
        for start in range(0, len(data), MIB):
            stream.write(data[start:start + MIB])
    check_bytes("in parts", read("multi"), data)
    with fs.open_input_stream(f"{BUCKET}/multi") as stream:
        check("content type", {str(k): v for k, v in stream.metadata().items()}.get("Content-Type"), b"a/b")
    fs.copy_file(f"{BUCKET}/multi", f"{BUCKET}/copy +1")
    check_bytes("copy", read("copy +1"), data)
    fs.move(f"{BUCKET}/copy +1", f"{BUCKET}/moved")
    check("moved", fs.get_file_info(f"{BUCKET}/copy +1").type, pafs.FileType.NotFound)
    check_bytes("moved", read("moved"), data)
    fs.create_dir(f"{BUCKET}/empty/folder", recursive=True)
    check("a folder", fs.get_file_info(f"{BUCKET}/empty/folder").type, pafs.FileType.Directory)
    fs.delete_dir(f"{BUCKET}/empty")
    check("no folder", fs.get_file_info(f"{BUCKET}/empty").type, pafs.FileType.NotFound)


def tables():
    rows = 1_000_000 if not QUICK else 200_000
    table = pa.table({
        "n": pa.array(range(rows), pa.int64()),
        "part": pa.array([f"p {n % 5}" for n in range(rows)]),
        "noise": pa.array([bytes(body(8, n)) for n in range(rows)], pa.binary()),
    })
    pq.write_table(table, f"{BUCKET}/one.parquet", filesystem=fs, compression="none")
    check("a table", pq.read_table(f"{BUCKET}/one.parquet", filesystem=fs).equals(table), True)
    column = pq.read_table(f"{BUCKET}/one.parquet", filesystem=fs, columns=["n"])
    check("a column", column["n"].equals(table["n"]), True)
    ds.write_dataset(table, f"{BUCKET}/set", filesystem=fs, format="parquet", partitioning=["part"],
                     partitioning_flavor="hive")
    back = ds.dataset(f"{BUCKET}/set", filesystem=fs, format="parquet", partitioning="hive")
    check("a dataset's files", len(back.files), 5)
    check("a dataset", back.to_table().sort_by("n").select(["n", "noise"]).equals(table.select(["n", "noise"])), True)
    check("a filter", back.count_rows(filter=ds.field("part") == "p 3"), rows // 5)
    return rows


objects()
files()
rows = tables()
fs.delete_dir_contents(BUCKET)
check("batch delete", fs.get_file_info(pafs.FileSelector(BUCKET)), [])
fs.delete_dir(BUCKET)
done(pa.__version__, f"{len(SIZES)} sizes, ranges, {len(KEYS)} odd keys, 35 MiB in parts, copy, move, folders, "
     f"Parquet of {rows:,} rows, partitioned dataset, batch delete")
