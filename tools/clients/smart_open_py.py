"""smart_open: streams in and out of objects, uploads in parts of what is written line by line."""

import gzip
import os

os.environ["AWS_ENDPOINT_URL"] = os.environ["STRIA_ENDPOINT"]

import boto3
import smart_open
import smart_open.s3

from common import *

BUCKET = "smart-open"
s3 = boto3.client("s3")
# A slash behind the bucket's name is the separator.
KEYS = [key for key in ODD_KEYS[:-1] if not key.startswith("/")]


def stream(key, mode, **parameters):
    return smart_open.open(f"s3://{BUCKET}/{key}", mode, transport_params={"client": s3, **parameters})


def objects():
    for size in SIZES:
        data = body(size, 6)
        with stream(f"size/{size}", "wb", min_part_size=5 * MIB) as file:
            file.write(data)
        with stream(f"size/{size}", "rb") as file:
            check_bytes(f"read of {size}", file.read(), data)
    for i, key in enumerate(KEYS):
        with stream(f"odd/{key}", "wb", multipart_upload=False) as file:
            file.write(str(i).encode())
        check(f"key {key!r}", s3.get_object(Bucket=BUCKET, Key=f"odd/{key}")["Body"].read(), str(i).encode())
        with stream(f"odd/{key}", "rb") as file:
            check(f"read of {key!r}", file.read(), str(i).encode())
    try:
        stream("missing", "rb").read()
        check("missing key", "found", "an error")
    except OSError as error:
        check("missing key", "missing" in str(error), True)


def streams():
    lines = [f"line {n} äöü\n" for n in range(400_000)]
    with stream("lines", "w", min_part_size=5 * MIB) as file:
        file.writelines(lines)
    with stream("lines", "r") as file:
        check("line by line", sum(1 for _ in file), len(lines))
    data = body(13 * MIB, 7)
    with stream("multi", "wb", min_part_size=5 * MIB) as file:
        for start in range(0, len(data), 77_777):
            file.write(data[start:start + 77_777])
    check("in parts", s3.head_object(Bucket=BUCKET, Key="multi")["ETag"].endswith('-3"'), True)
    with stream("multi", "rb") as file:
        for where in [0, 5 * MIB - 1, 12 * MIB, 3]:
            file.seek(where)
            check_bytes(f"seek to {where}", file.read(1000), data[where:where + 1000])
        file.seek(-10, 2)
        check_bytes("seek from the end", file.read(), data[-10:])
    with stream("zipped.gz", "wb") as file:
        file.write(b"text " * 100_000)
    packed = s3.get_object(Bucket=BUCKET, Key="zipped.gz")["Body"].read()
    check_bytes("packed on the way", gzip.decompress(packed), b"text " * 100_000)
    try:
        with stream("given up", "wb", min_part_size=5 * MIB) as file:
            file.write(data)
            raise KeyError("a writer that fails")
    except KeyError:
        pass
    check("a failed writer leaves no upload", "Uploads" in s3.list_multipart_uploads(Bucket=BUCKET), False)
    check("and no object", s3.list_objects_v2(Bucket=BUCKET, Prefix="given")["KeyCount"], 0)


def clean():
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    for entry in [entry for page in pages for entry in page["Contents"]]:
        s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
    s3.delete_bucket(Bucket=BUCKET)


s3.create_bucket(Bucket=BUCKET)
objects()
streams()
clean()
done(smart_open.__version__, f"{len(SIZES)} sizes, {len(KEYS)} odd keys, 400,000 lines in parts, seeks, gzip, a writer "
     "that fails")
