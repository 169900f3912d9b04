"""OpenDAL: one interface over many stores; its S3 service signs with reqsign."""

import asyncio
import urllib.request

import boto3
import opendal
from botocore.config import Config
from importlib.metadata import version

from common import *

BUCKET = "opendal"
s3 = boto3.client("s3", endpoint_url=ENDPOINT, config=Config(s3={"addressing_style": "path"}))
OPTIONS = dict(
    bucket=BUCKET, endpoint=ENDPOINT, region=REGION, access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY,
    disable_config_load="true", disable_ec2_metadata="true",
)
op = opendal.Operator("s3", **OPTIONS)
# Its paths are normalised: no empty segment, and a slash at the end names a folder. A segment of one dot it signs and then
# leaves out of the request.
KEYS = [key for key in ODD_KEYS[:-1] if "//" not in key and key[0] != "/" and key[-1] != "/" and key != "./dot"]


def objects():
    for size in SIZES:
        data = body(size, 12)
        op.write(f"size/{size}", data)
        check_bytes(f"read of {size}", bytes(op.read(f"size/{size}")), data)
        check(f"stat of {size}", op.stat(f"size/{size}").content_length, size)
    data = body(20 * MIB + 3, 12)
    with op.open(f"size/{20 * MIB + 3}", "rb") as file:
        for start in [0, 1, 5 * MIB - 1, 20 * MIB]:
            file.seek(start)
            # A read ends where the piece ends that it has fetched.
            found = b""
            while len(found) < 3 and (more := bytes(file.read(3 - len(found)))):
                found += more
            check_bytes(f"range from {start}", found, data[start:start + 3])
    for i, key in enumerate(KEYS):
        op.write(f"odd/{key}", str(i).encode())
    for i, key in enumerate(KEYS):
        check(f"key {key!r}, stored", s3.get_object(Bucket=BUCKET, Key=f"odd/{key}")["Body"].read(), str(i).encode())
        check(f"key {key!r}", bytes(op.read(f"odd/{key}")), str(i).encode())
    found = {entry.path.removeprefix("odd/") for entry in op.scan("odd/")}
    check("odd keys are listed", {key for key in found if key and key[-1] != "/"}, set(KEYS))
    try:
        op.read("missing")
        check("missing key", "found", "NotFound")
    except opendal.exceptions.NotFound:
        pass


def files():
    data = body(17 * MIB + 1, 13)
    with op.open("multi", "wb", chunk=5 * MIB) as file:
        for start in range(0, len(data), 700_001):
            file.write(data[start:start + 700_001])
    check("in parts", s3.head_object(Bucket=BUCKET, Key="multi")["ETag"].endswith('-4"'), True)
    check_bytes("in parts", bytes(op.read("multi")), data)
    op.copy("multi", "copy +1")
    check_bytes("copy", bytes(op.read("copy +1")), data)
    op.create_dir("folder/")
    check("a folder", op.stat("folder/").mode.is_dir(), True)
    op.write("typed", b"x", content_type="a/b", user_metadata={"colour": "blue"})
    check("content type", op.stat("typed").content_type, "a/b")
    for n in range(1100):
        op.write(f"tree/{n % 7}/{n}", str(n).encode())
    check("scan", sum(1 for entry in op.scan("tree/") if entry.path[-1] != "/"), 1100)
    check("list", {entry.path for entry in op.list("tree/")} - {"tree/"}, {f"tree/{n}/" for n in range(7)})
    op.remove_all("tree/")
    check("remove_all", list(op.scan("tree/")), [])
    op.delete("multi")
    op.delete("multi")
    check("deleted", op.exists("multi"), False)


async def presigned():
    signed = opendal.AsyncOperator("s3", **OPTIONS)
    put = await signed.presign_write("signed", 60)
    request = urllib.request.Request(put.url, b"by URL", put.headers, method=put.method)
    with urllib.request.urlopen(request) as answer:
        check("presigned PUT", answer.status, 200)
    get = await signed.presign_read("signed", 60)
    with urllib.request.urlopen(urllib.request.Request(get.url, headers=get.headers)) as answer:
        check("presigned GET", answer.read(), b"by URL")


s3.create_bucket(Bucket=BUCKET)
objects()
files()
asyncio.run(presigned())
op.remove_all("/")
s3.delete_bucket(Bucket=BUCKET)
done(version("opendal"), f"{len(SIZES)} sizes, seeks, {len(KEYS)} odd keys, 17 MiB in parts, copy, folders, scan of 1,100 "
     "keys, batch delete, presigned")
