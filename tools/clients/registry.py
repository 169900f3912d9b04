"""The container registry of the CNCF over its S3 driver: uploads that go on part by part, walks for the catalog and the
garbage collection, pulls through presigned redirects. Images are pushed with plain HTTP."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

import boto3
from botocore.config import Config

from common import *

BUCKET = "registry"
BINARY = Path(os.environ["STRIA_CLIENTS_TOOLS"]) / "registry"
FOLDER = Path(os.environ["STRIA_CLIENTS_DIR"])
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
s3 = boto3.client("s3", endpoint_url=ENDPOINT, config=Config(s3={"addressing_style": "path"}))

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    HOST = "http://127.0.0.1:%d" % free.getsockname()[1]
CONFIG = FOLDER / "registry.yml"
CONFIG.write_text(json.dumps({
    "version": "0.1",
    "log": {"level": "error", "accesslog": {"disabled": True}},
    "storage": {
        "s3": {
            "accesskey": ACCESS_KEY, "secretkey": SECRET_KEY, "region": REGION, "regionendpoint": ENDPOINT,
            "forcepathstyle": True, "secure": False, "bucket": BUCKET, "rootdirectory": "/some root",
            "chunksize": 5 * MIB, "multipartcopythresholdsize": 16 * MIB, "multipartcopychunksize": 5 * MIB,
        },
        "delete": {"enabled": True},
    },
    "http": {"addr": HOST.removeprefix("http://")},
}))


class SameMethod(urllib.request.HTTPRedirectHandler):
    """urllib makes GET of a HEAD that is redirected; the presigned URL is for HEAD."""

    def redirect_request(self, request, *answer):
        redirected = super().redirect_request(request, *answer)
        if request.get_method() == "HEAD":
            redirected.method = "HEAD"
        return redirected


opener = urllib.request.build_opener(SameMethod)


def call(method, url, data=None, **headers):
    """Status, headers and body; redirects are followed."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(urljoin(HOST, url), data, headers, method=method)
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def digest(data):
    return f"sha256:{sha256(data)}"


def push_blob(name, data, step):
    """In requests of `step` bytes, as docker does."""
    status, headers, _ = call("POST", f"/v2/{name}/blobs/uploads/", b"")
    check("an upload begins", status, 202)
    for start in range(0, len(data), step):
        part = data[start:start + step]
        kind = "application/octet-stream"
        status, headers, said = call("PATCH", headers["Location"], part, Content_Type=kind)
        check(f"bytes from {start} of {len(data)}: {said!r}", status, 202)
    location = headers["Location"]
    url = f"{location}{'&' if '?' in location else '?'}digest={digest(data)}"
    status, _, said = call("PUT", url, b"")
    check(f"a blob of {len(data)}: {said!r}", status, 201)


def push_image(name, tag, layers):
    """Its manifest; the layers are there."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
        "type": "layers", "diff_ids": [digest(layer) for layer in layers]}, "tag": tag}).encode()
    push_blob(name, config, MIB)

    def described(data, kind):
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(data), "size": len(data)}

    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": described(config, "config.v1+json"),
        "layers": [described(layer, "layer.v1.tar") for layer in layers],
    }).encode()
    status, _, said = call("PUT", f"/v2/{name}/manifests/{tag}", manifest, Content_Type=MANIFEST)
    check(f"a manifest: {said!r}", status, 201)
    return manifest


def pull_image(name, tag, manifest, layers):
    status, _, found = call("GET", f"/v2/{name}/manifests/{tag}", Accept=MANIFEST)
    check("the manifest", (status, found), (200, manifest))
    for layer in layers:
        status, headers, _ = call("HEAD", f"/v2/{name}/blobs/{digest(layer)}")
        check("HEAD of a layer", (status, headers["Content-Length"]), (200, str(len(layer))))
        status, _, found = call("GET", f"/v2/{name}/blobs/{digest(layer)}")
        check("GET of a layer", status, 200)
        check_bytes(f"a layer of {len(layer)}", found, layer)


def started():
    quiet = os.environ | {"OTEL_TRACES_EXPORTER": "none"}
    process = subprocess.Popen([BINARY, "serve", CONFIG], stdout=sys.stderr, env=quiet)
    for _ in range(300):
        try:
            if call("GET", "/v2/")[0] == 200:
                return process
        except urllib.error.URLError:
            time.sleep(0.1)
    process.kill()
    sys.exit("FAILED the registry did not start")


def images():
    layers = [body(size, 14) for size in [1, 70_000, 5 * MIB, 12 * MIB + 3, 37 * MIB + 1]]
    for layer, step in zip(layers, [MIB, 30_000, 5 * MIB, 1_000_001, 6 * MIB]):
        push_blob("team/one", layer, step)
    manifest = push_image("team/one", "v1", layers)
    pull_image("team/one", "v1", manifest, layers)
    for layer in layers[:2]:
        status, _, _ = call("POST", f"/v2/two/blobs/uploads/?mount={digest(layer)}&from=team/one", b"")
        check("a layer of another image", status, 201)
    second = push_image("two", "latest", layers[:2])
    for n in range(30):
        push_image("two", f"t{n}", layers[:1])
    check("tags", len(json.loads(call("GET", "/v2/two/tags/list")[2])["tags"]), 31)
    check("catalog", json.loads(call("GET", "/v2/_catalog")[2]), {"repositories": ["team/one", "two"]})
    check("a page of the catalog", json.loads(call("GET", "/v2/_catalog?n=1&last=team/one")[2])["repositories"], ["two"])
    check("a missing blob", call("GET", f"/v2/two/blobs/{digest(b'missing')}")[0], 404)
    return layers, manifest, second


def collect(layers, manifest, second):
    check("DELETE of a manifest", call("DELETE", f"/v2/team/one/manifests/{digest(manifest)}")[0], 202)
    command = [BINARY, "garbage-collect", "--delete-untagged", CONFIG]
    collected = subprocess.run(command, capture_output=True, text=True)
    check(f"garbage collection: {collected.stderr[-300:]}", collected.returncode, 0)
    for layer in layers[2:]:
        listed = [e for e in s3.list_objects_v2(Bucket=BUCKET)["Contents"] if sha256(layer) in e["Key"]]
        check("its blobs are gone", [e["Key"] for e in listed if "/blobs/sha256/" in e["Key"]], [])
    return second


s3.create_bucket(Bucket=BUCKET)
process = started()
try:
    layers, manifest, second = images()
    collect(layers, manifest, second)
finally:
    process.terminate()
    process.wait()
# A fresh process: nothing of what was collected is in its cache.
process = started()
try:
    pull_image("two", "latest", second, layers[:2])
    check("a collected layer", call("GET", f"/v2/team/one/blobs/{digest(layers[3])}")[0], 404)
finally:
    process.terminate()
    process.wait()
check("no upload is left", "Uploads" in s3.list_multipart_uploads(Bucket=BUCKET), False)
for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": entry["Key"]} for entry in page["Contents"]]})
s3.delete_bucket(Bucket=BUCKET)
CONFIG.unlink()
done((BINARY.parent / "registry.pin").read_text().split("@v")[1], "layers of 5 sizes up to 37 MiB pushed in pieces, "
     "mounts, 32 manifests, pulls through presigned redirects, tags, catalog, garbage collection")
