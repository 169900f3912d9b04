"""minio-py: it signs the payload's SHA-256 and lists with `encoding-type=url`."""

import concurrent.futures
import io
import urllib.request
from datetime import timedelta

import minio
from minio import Minio
from minio.commonconfig import ComposeSource, CopySource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from common import *

BUCKET = "minio-py"
client = Minio(ENDPOINT.removeprefix("http://"), access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False, region=REGION)


def get(key, **arguments):
    answer = client.get_object(BUCKET, key, **arguments)
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


def put(key, data):
    return client.put_object(BUCKET, key, io.BytesIO(data), len(data))


def objects():
    client.make_bucket(BUCKET)
    check("bucket exists", client.bucket_exists(BUCKET), True)
    check("missing bucket", client.bucket_exists("missing-bucket"), False)
    for size in SIZES:
        data = body(size, 2)
        put(f"size/{size}", data)
        check_bytes(f"get of {size}", get(f"size/{size}"), data)
        check(f"stat of {size}", client.stat_object(BUCKET, f"size/{size}").size, size)
    data = body(20 * MIB + 3, 2)
    for offset, length in [(0, 1), (1, 100_000), (MIB - 1, 2 * MIB)]:
        check_bytes("range", get(f"size/{20 * MIB + 3}", offset=offset, length=length), data[offset:offset + length])
    # This client itself refuses keys with a segment of one dot.
    odd_keys = [key for key in ODD_KEYS[:-1] if key != "./dot"]
    for i, key in enumerate(odd_keys):
        put(f"odd/{key}", str(i).encode())
    for i, key in enumerate(odd_keys):
        check(f"key {key!r}", get(f"odd/{key}"), str(i).encode())
    try:
        get("missing")
        check("missing key", "found", "NoSuchKey")
    except S3Error as error:
        check("missing key", error.code, "NoSuchKey")


def multipart_and_copy():
    data = body(12 * MIB + 5, 3)
    client.put_object(BUCKET, "multi", io.BytesIO(data), -1, part_size=5 * MIB)
    check_bytes("multipart", get("multi"), data)
    client.copy_object(BUCKET, "copy", CopySource(BUCKET, "multi"))
    check_bytes("copy", get("copy"), data)
    client.compose_object(BUCKET, "composed", [ComposeSource(BUCKET, "multi"), ComposeSource(BUCKET, "size/1")])
    check_bytes("composed", get("composed"), data + body(1, 2))


def listing():
    count = 1000 if QUICK else 5000
    names = [f"list/{i % 20:02}/{i:05}" for i in range(count)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: put(name, name.encode()), names))
    names.sort()
    for v1 in (False, True):
        found = client.list_objects(BUCKET, prefix="list/", recursive=True, use_api_v1=v1)
        check(f"{count} keys listed, v1 {v1}", [entry.object_name for entry in found], names)
    found = client.list_objects(BUCKET, prefix="list/")
    check("prefixes", [entry.object_name for entry in found], [f"list/{i:02}/" for i in range(20)])


def presigned_and_delete():
    url = client.presigned_get_object(BUCKET, "size/4096", expires=timedelta(minutes=5))
    with urllib.request.urlopen(url) as answer:
        check_bytes("presigned", answer.read(), body(4096, 2))
    names = [entry.object_name for entry in client.list_objects(BUCKET, recursive=True)]
    check("errors of delete", list(client.remove_objects(BUCKET, [DeleteObject(name) for name in names])), [])
    client.remove_bucket(BUCKET)
    check("bucket gone", client.bucket_exists(BUCKET), False)


for step in (objects, multipart_and_copy, listing, presigned_and_delete):
    step()
done(minio.__version__, "11 sizes, ranges, 17 odd keys, multipart, copy, compose, list, presign, delete")
