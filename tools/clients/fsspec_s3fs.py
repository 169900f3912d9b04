"""s3fs, the S3 file system of fsspec: what pandas, dask, zarr and xarray read and write through."""

import s3fs

from common import *

BUCKET = "s3fs-fsspec"
fs = s3fs.S3FileSystem(
    key=ACCESS_KEY,
    secret=SECRET_KEY,
    endpoint_url=ENDPOINT,
    client_kwargs={"region_name": REGION},
    use_listings_cache=False,
    default_block_size=5 * MIB,
)
# A path of fsspec has no empty first segment and no slash at its end.
KEYS = [key for key in ODD_KEYS[:-1] if not key.startswith("/") and not key.endswith("/")]


def objects():
    fs.mkdir(BUCKET)
    check("bucket", fs.exists(BUCKET), True)
    for size in SIZES:
        data = body(size, 4)
        fs.pipe_file(f"{BUCKET}/size/{size}", data)
        check_bytes(f"cat of {size}", fs.cat_file(f"{BUCKET}/size/{size}"), data)
        check(f"info of {size}", fs.info(f"{BUCKET}/size/{size}")["size"], size)
    path, data = f"{BUCKET}/size/{20 * MIB + 3}", body(20 * MIB + 3, 4)
    for start, end in [(0, 1), (1, 100_000), (MIB - 1, 7 * MIB), (-1000, None)]:
        check_bytes("range", fs.cat_file(path, start=start, end=end), data[start:end])
    ranges = fs.cat_ranges([path] * 20, list(range(0, 20 * MIB, MIB)), [MIB * n + 100 for n in range(20)])
    check_bytes("ranges at once", b"".join(ranges), b"".join(data[MIB * n:MIB * n + 100] for n in range(20)))
    for i, key in enumerate(KEYS):
        fs.pipe_file(f"{BUCKET}/odd/{key}", str(i).encode())
    for i, key in enumerate(KEYS):
        check(f"key {key!r}", fs.cat_file(f"{BUCKET}/odd/{key}"), str(i).encode())
    found = {path.removeprefix(f"{BUCKET}/odd/") for path in fs.find(f"{BUCKET}/odd")}
    check("odd keys are listed", found, set(KEYS))
    for call in [fs.cat_file, fs.info, lambda path: fs.open(path).read()]:
        try:
            call(f"{BUCKET}/missing")
            check("missing key", "found", "FileNotFoundError")
        except FileNotFoundError:
            check("missing key", 1, 1)


def files():
    data = body(17 * MIB + 9, 5)
    with fs.open(f"{BUCKET}/multi", "wb") as file:
        for start in range(0, len(data), 700_001):
            file.write(data[start:start + 700_001])
    check("in parts", "-" in fs.info(f"{BUCKET}/multi")["ETag"], True)
    with fs.open(f"{BUCKET}/multi", "rb") as file:
        check_bytes("read in pieces", b"".join(iter(lambda: file.read(999_983), b"")), data)
        file.seek(-77, 2)
        check_bytes("seek from the end", file.read(), data[-77:])
        file.seek(5 * MIB - 3)
        check_bytes("across parts", file.read(6), data[5 * MIB - 3:5 * MIB + 3])
    with fs.open(f"{BUCKET}/multi", "ab") as file:
        file.write(b"appended")
    check_bytes("append", fs.cat_file(f"{BUCKET}/multi"), data + b"appended")
    fs.cp_file(f"{BUCKET}/multi", f"{BUCKET}/copy +1")
    check_bytes("copy", fs.cat_file(f"{BUCKET}/copy +1"), data + b"appended")
    fs.mv(f"{BUCKET}/copy +1", f"{BUCKET}/moved")
    check("moved", (fs.exists(f"{BUCKET}/copy +1"), fs.exists(f"{BUCKET}/moved")), (False, True))
    fs.setxattr(f"{BUCKET}/moved", colour="blue")
    check("metadata", fs.getxattr(f"{BUCKET}/moved", "colour"), "blue")
    fs.put_tags(f"{BUCKET}/moved", {"a b": "c+d"})
    check("tags", fs.get_tags(f"{BUCKET}/moved"), {"a b": "c+d"})


def trees():
    fs.pipe({f"{BUCKET}/tree/{n % 7}/{n:04}": str(n).encode() for n in range(1100)})
    check("find", len(fs.find(f"{BUCKET}/tree")), 1100)
    check("folders", [path[-1] for path in sorted(fs.ls(f"{BUCKET}/tree", detail=False))], list("0123456"))
    check("glob", len(fs.glob(f"{BUCKET}/tree/*/*00")), 11)
    check("du", fs.du(f"{BUCKET}/tree"), sum(len(str(n)) for n in range(1100)))
    check("cat of many", fs.cat(f"{BUCKET}/tree/3/0003"), b"3")
    check("is a folder", (fs.isdir(f"{BUCKET}/tree/3"), fs.isfile(f"{BUCKET}/tree/3")), (True, False))
    fs.rm(f"{BUCKET}/tree", recursive=True)
    check("rm of a tree", fs.find(f"{BUCKET}/tree"), [])
    fs.rm(BUCKET, recursive=True)
    check("rm of a bucket", fs.exists(BUCKET), False)


objects()
files()
trees()
done(s3fs.__version__, f"{len(SIZES)} sizes, ranges, {len(KEYS)} odd keys, files in parts, append, copy, move, tags, "
     "tree of 1,100 keys, batch delete")
