"""boto3, with its default integrity protections or, given `when_required`, without them."""

import concurrent.futures
import sys
import urllib.error
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from common import *

MODE = sys.argv[1] if len(sys.argv) > 1 else "when_supported"
BUCKET = "boto3-" + MODE.replace("_", "-")
s3 = boto3.client(
    "s3",
    endpoint_url=ENDPOINT,
    config=Config(
        # Without it, presigned URLs of us-east-1 still come with signatures of version 2.
        signature_version="s3v4",
        request_checksum_calculation=MODE,
        response_checksum_validation=MODE,
        retries={"max_attempts": 1},
        max_pool_connections=32,
        s3={"addressing_style": "path"},
    ),
)


def code_of(call, **arguments):
    """The error code and status a call ends with."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    return "no error", 200


def buckets():
    s3.create_bucket(Bucket=BUCKET)
    s3.create_bucket(Bucket=BUCKET)
    check("bucket listed", BUCKET in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]], True)
    s3.head_bucket(Bucket=BUCKET)
    check("head of a missing bucket", code_of(s3.head_bucket, Bucket="no-such-bucket-here"), ("404", 404))
    check("location", s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"], None)
    check("versioning", "Status" in s3.get_bucket_versioning(Bucket=BUCKET), False)
    for name, code in [
        ("get_bucket_policy", "NoSuchBucketPolicy"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_cors", "NoSuchCORSConfiguration"),
        ("get_bucket_tagging", "NoSuchTagSet"),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_public_access_block", "NoSuchPublicAccessBlockConfiguration"),
        ("get_bucket_ownership_controls", "OwnershipControlsNotFoundError"),
    ]:
        # New buckets have these two; without them the answer is the code.
        if name == "get_public_access_block":
            block = s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"]
            check("public access is blocked", set(block.values()), {True})
            s3.delete_public_access_block(Bucket=BUCKET)
        if name == "get_bucket_ownership_controls":
            rules = s3.get_bucket_ownership_controls(Bucket=BUCKET)["OwnershipControls"]["Rules"]
            check("ownership", rules, [{"ObjectOwnership": "BucketOwnerEnforced"}])
            s3.delete_bucket_ownership_controls(Bucket=BUCKET)
        check(name, code_of(getattr(s3, name), Bucket=BUCKET), (code, 404))


def sizes():
    for size in SIZES:
        data, key = body(size), f"size/{size}"
        put = s3.put_object(Bucket=BUCKET, Key=key, Body=data, Metadata={"n": str(size)}, ContentType="a/b")
        check(f"etag of {size}", put["ETag"], f'"{hashlib.md5(data).hexdigest()}"')
        got = s3.get_object(Bucket=BUCKET, Key=key)
        check_bytes(f"get of {size}", got["Body"].read(), data)
        head = s3.head_object(Bucket=BUCKET, Key=key)
        check(f"head of {size}", (head["ContentLength"], head["ETag"], head["ContentType"], head["Metadata"]),
              (size, put["ETag"], "a/b", {"n": str(size)}))


def ranges():
    size = 20 * MIB + 3
    data, key = body(size), f"size/{20 * MIB + 3}"
    for first, last in [(0, 0), (0, 4095), (1, 65536), (262143, 262144), (MIB - 1, 3 * MIB), (size - 1, size + 9)]:
        got = s3.get_object(Bucket=BUCKET, Key=key, Range=f"bytes={first}-{last}")
        check("status of a range", got["ResponseMetadata"]["HTTPStatusCode"], 206)
        check("content range", got["ContentRange"], f"bytes {first}-{min(last, size - 1)}/{size}")
        check_bytes(f"range {first}-{last}", got["Body"].read(), data[first:last + 1])
    check_bytes("suffix range", s3.get_object(Bucket=BUCKET, Key=key, Range="bytes=-10")["Body"].read(), data[-10:])
    check("range behind the end", code_of(s3.get_object, Bucket=BUCKET, Key=key, Range=f"bytes={size}-"),
          ("InvalidRange", 416))


def keys():
    for i, key in enumerate(ODD_KEYS):
        s3.put_object(Bucket=BUCKET, Key=f"odd/{key}"[:1024], Body=str(i).encode())
    for i, key in enumerate(ODD_KEYS):
        check(f"key {key[:30]!r}", s3.get_object(Bucket=BUCKET, Key=f"odd/{key}"[:1024])["Body"].read(), str(i).encode())
    listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix="odd/")["Contents"]]
    check("odd keys listed", listed, sorted((f"odd/{key}"[:1024] for key in ODD_KEYS), key=str.encode))
    check("key too long", code_of(s3.put_object, Bucket=BUCKET, Key="k" * 1025, Body=b"")[0], "KeyTooLongError")


def conditions():
    arguments = {"Bucket": BUCKET, "Key": "conditional"}
    etag = s3.put_object(**arguments, Body=b"one", IfNoneMatch="*")["ETag"]
    check("create twice", code_of(s3.put_object, **arguments, Body=b"two", IfNoneMatch="*"), ("PreconditionFailed", 412))
    check("wrong If-Match", code_of(s3.put_object, **arguments, Body=b"two", IfMatch='"' + "0" * 32 + '"'),
          ("PreconditionFailed", 412))
    check("get If-None-Match", code_of(s3.get_object, **arguments, IfNoneMatch=etag), ("304", 304))
    check("get If-Match", code_of(s3.get_object, **arguments, IfMatch='"x"'), ("PreconditionFailed", 412))
    s3.put_object(**arguments, Body=b"three", IfMatch=etag)
    check("the body that won", s3.get_object(**arguments)["Body"].read(), b"three")

    def create(i):
        return code_of(s3.put_object, Bucket=BUCKET, Key="race", Body=str(i).encode(), IfNoneMatch="*")[1]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        statuses = sorted(pool.map(create, range(16)))
    check("winners of a race", statuses.count(200), 1)
    check("losers of a race", set(statuses[1:]) <= {409, 412}, True)


def checksums():
    for algorithm in ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]:
        data = body(100_000)
        put = s3.put_object(Bucket=BUCKET, Key="sum", Body=data, ChecksumAlgorithm=algorithm)
        head = s3.head_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")
        check(f"{algorithm} kept", head[f"Checksum{algorithm}"], put[f"Checksum{algorithm}"])
        check_bytes(f"{algorithm} body", s3.get_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")["Body"].read(), data)
    check("wrong checksum", code_of(s3.put_object, Bucket=BUCKET, Key="bad", Body=b"x", ChecksumSHA256="A" * 43 + "=")[0],
          "BadDigest")
    check("nothing was kept", code_of(s3.head_object, Bucket=BUCKET, Key="bad"), ("404", 404))


def copies():
    data = body(3 * MIB)
    s3.put_object(Bucket=BUCKET, Key="copy/ä +from", Body=data, Metadata={"a": "1"}, ContentType="x/y")
    s3.copy_object(Bucket=BUCKET, Key="copy/to", CopySource={"Bucket": BUCKET, "Key": "copy/ä +from"})
    got = s3.get_object(Bucket=BUCKET, Key="copy/to")
    check_bytes("copy", got["Body"].read(), data)
    check("copied metadata", (got["Metadata"], got["ContentType"]), ({"a": "1"}, "x/y"))
    s3.copy_object(Bucket=BUCKET, Key="copy/to", CopySource={"Bucket": BUCKET, "Key": "copy/to"},
                   MetadataDirective="REPLACE", Metadata={"b": "2"})
    got = s3.get_object(Bucket=BUCKET, Key="copy/to")
    check_bytes("copy onto itself", got["Body"].read(), data)
    check("replaced metadata", got["Metadata"], {"b": "2"})
    check("copy of nothing", code_of(s3.copy_object, Bucket=BUCKET, Key="z", CopySource=f"{BUCKET}/none")[0], "NoSuchKey")


def multipart():
    key, part = "multi/part", 5 * MIB
    data = body(2 * part + 77)
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key, ContentType="m/p")["UploadId"]
    parts = []
    for number in (3, 1, 2):
        piece = data[(number - 1) * part:number * part]
        answer = s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=piece)
        parts.append({"ETag": answer["ETag"], "PartNumber": number})
    parts.sort(key=lambda part: part["PartNumber"])
    check("uploads listed", [u["Key"] for u in s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]], [key])
    listed = s3.list_parts(Bucket=BUCKET, Key=key, UploadId=upload)["Parts"]
    check("parts listed", [(p["PartNumber"], p["Size"]) for p in listed], [(1, part), (2, part), (3, 77)])
    complete = {"Bucket": BUCKET, "Key": key, "UploadId": upload, "MultipartUpload": {"Parts": parts}}
    first = s3.complete_multipart_upload(**complete)
    md5s = b"".join(hashlib.md5(data[i:i + part]).digest() for i in range(0, len(data), part))
    check("etag", first["ETag"], f'"{hashlib.md5(md5s).hexdigest()}-3"')
    check("complete again", s3.complete_multipart_upload(**complete)["ETag"], first["ETag"])
    check_bytes("multipart body", s3.get_object(Bucket=BUCKET, Key=key)["Body"].read(), data)
    got = s3.get_object(Bucket=BUCKET, Key=key, Range=f"bytes={part - 5}-{part + 5}")
    check_bytes("range over parts", got["Body"].read(), data[part - 5:part + 6])
    got = s3.get_object(Bucket=BUCKET, Key=key, PartNumber=2)
    check("parts count", (got["PartsCount"], got["ContentLength"]), (3, part))
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="multi/copy")["UploadId"]
    answer = s3.upload_part_copy(Bucket=BUCKET, Key="multi/copy", UploadId=upload, PartNumber=1,
                                 CopySource=f"{BUCKET}/{key}", CopySourceRange=f"bytes=1-{part + 3}")
    s3.complete_multipart_upload(Bucket=BUCKET, Key="multi/copy", UploadId=upload, MultipartUpload={
        "Parts": [{"ETag": answer["CopyPartResult"]["ETag"], "PartNumber": 1}]})
    check_bytes("copied part", s3.get_object(Bucket=BUCKET, Key="multi/copy")["Body"].read(), data[1:part + 4])
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="multi/gone")["UploadId"]
    s3.abort_multipart_upload(Bucket=BUCKET, Key="multi/gone", UploadId=upload)
    check("aborted", code_of(s3.list_parts, Bucket=BUCKET, Key="multi/gone", UploadId=upload), ("NoSuchUpload", 404))
    # The transfer manager chooses multipart and parallel parts by itself, from a file.
    path = os.path.join(os.environ["STRIA_CLIENTS_DIR"], "transfer")
    with open(path, "wb") as file:
        file.write(data * 3)
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=4)
    s3.upload_file(path, BUCKET, "multi/file", Config=config)
    s3.download_file(BUCKET, "multi/file", path + ".back", Config=config)
    with open(path + ".back", "rb") as file:
        check_bytes("transfer manager", file.read(), data * 3)


def listing():
    count = 500 if QUICK and MODE != "when_supported" else 5000
    names = [f"list/{i % 50:02}/{i:05}" for i in range(count)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: s3.put_object(Bucket=BUCKET, Key=name, Body=name.encode()), names))
    names.sort()
    for version in ("list_objects_v2", "list_objects"):
        pages = s3.get_paginator(version).paginate(Bucket=BUCKET, Prefix="list/", PaginationConfig={"PageSize": 333})
        found = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        check(f"{version} of {count} keys", found, names)
        pages = s3.get_paginator(version).paginate(Bucket=BUCKET, Prefix="list/", Delimiter="/",
                                                   PaginationConfig={"PageSize": 7})
        found = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
        check(f"{version} prefixes", found, [f"list/{i:02}/" for i in range(50)])
    page = s3.list_objects_v2(Bucket=BUCKET, Prefix="list/", StartAfter=names[-2])
    check("start after", ([entry["Key"] for entry in page["Contents"]], page["KeyCount"], page["IsTruncated"]),
          ([names[-1]], 1, False))


def presigned():
    url = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "pre signed+1"}, ExpiresIn=60)
    request = urllib.request.Request(url, data=b"presigned", method="PUT")
    with urllib.request.urlopen(request) as answer:
        check("presigned put", answer.status, 200)
    url = s3.generate_presigned_url("get_object", Params={
        "Bucket": BUCKET, "Key": "pre signed+1", "ResponseContentType": "text/x"}, ExpiresIn=60)
    with urllib.request.urlopen(url) as answer:
        check("presigned get", (answer.read(), answer.headers["Content-Type"]), (b"presigned", "text/x"))
    try:
        urllib.request.urlopen(url.replace("text%2Fx", "text%2Fy"))
        check("a presigned URL that was changed", "accepted", "refused")
    except urllib.error.HTTPError as error:
        check("a presigned URL that was changed", error.code, 403)


def deletes():
    check("not empty", code_of(s3.delete_bucket, Bucket=BUCKET), ("BucketNotEmpty", 409))
    s3.delete_object(Bucket=BUCKET, Key="never existed")
    while True:
        page = s3.list_objects_v2(Bucket=BUCKET)
        entries = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
        if not entries:
            break
        answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": entries})
        check("deleted", (len(answer.get("Deleted", [])), answer.get("Errors", [])), (len(entries), []))
    s3.delete_bucket(Bucket=BUCKET)
    check("bucket gone", code_of(s3.head_bucket, Bucket=BUCKET), ("404", 404))


for step in (buckets, sizes, ranges, keys, conditions, checksums, copies, multipart, listing, presigned, deletes):
    step()
done(boto3.__version__, f"checksums {MODE}: buckets, 11 sizes, ranges, 19 odd keys, conditions, race, copy, multipart, "
     "list, presign, delete")
