"""Polars: its own object store in Rust; Parquet, CSV and NDJSON, lazily and in parts."""

import io

import boto3
import polars as pl
from botocore.config import Config

from common import *

BUCKET = "polars"
s3 = boto3.client("s3", endpoint_url=ENDPOINT, config=Config(s3={"addressing_style": "path"}))
OPTIONS = {
    "aws_access_key_id": ACCESS_KEY,
    "aws_secret_access_key": SECRET_KEY,
    "aws_region": REGION,
    "aws_endpoint_url": ENDPOINT,
    "aws_allow_http": "true",
}
ROWS = 200_000 if QUICK else 2_000_000


def url(key):
    return f"s3://{BUCKET}/{key}"


def frame(rows, seed):
    noise = [int.from_bytes(body(8, seed)[:7]) ^ (n * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFF) for n in range(rows)]
    return pl.DataFrame({"n": range(rows), "noise": noise, "text": [f"t {n % 97} ä" for n in range(rows)]})


def same(what, found, expected):
    check(f"{what} (rows)", found.height, expected.height)
    check(what, found.equals(expected), True)


def single_files(data):
    small = data.head(1000)
    for key in ["with space.parquet", "plus+plus.parquet", "umlaut-äöü.parquet", "a=b/c=d.parquet", "quote'.parquet"]:
        small.write_parquet(url(f"odd/{key}"), storage_options=OPTIONS)
        stored = s3.get_object(Bucket=BUCKET, Key=f"odd/{key}")["Body"].read()
        same(f"key {key!r}, stored", pl.read_parquet(io.BytesIO(stored), hive_partitioning=False), small)
        same(f"key {key!r}", pl.read_parquet(url(f"odd/{key}"), storage_options=OPTIONS, hive_partitioning=False), small)
    data.write_parquet(url("large.parquet"), storage_options=OPTIONS, compression="uncompressed")
    same("Parquet", pl.read_parquet(url("large.parquet"), storage_options=OPTIONS), data)
    lazy = pl.scan_parquet(url("large.parquet"), storage_options=OPTIONS)
    same("a column of some rows", lazy.filter(pl.col("n") % 1000 == 7).select("noise").collect(),
         data.filter(pl.col("n") % 1000 == 7).select("noise"))
    same("a slice", lazy.slice(ROWS // 2, 10).collect(), data.slice(ROWS // 2, 10))
    small.write_csv(url("small.csv"), storage_options=OPTIONS)
    same("CSV", pl.scan_csv(url("small.csv"), storage_options=OPTIONS).collect(), small)
    data.lazy().sink_ndjson(url("large.ndjson"), storage_options=OPTIONS)
    same("NDJSON", pl.scan_ndjson(url("large.ndjson"), storage_options=OPTIONS).collect(), data)
    data.lazy().sink_ipc(url("large.arrow"), storage_options=OPTIONS)
    same("Arrow IPC", pl.scan_ipc(url("large.arrow"), storage_options=OPTIONS).collect(), data)


def many_files(data):
    for n in range(20):
        data.slice(n * 100, 100).write_parquet(url(f"set/day={n % 4}/{n:02}.parquet"), storage_options=OPTIONS)
    every = pl.scan_parquet(url("set/**/*.parquet"), storage_options=OPTIONS, hive_partitioning=True)
    same("a tree of files", every.sort("n").select("n", "noise").collect(), data.head(2000).select("n", "noise"))
    check("one partition", every.filter(pl.col("day") == 3).collect().height, 500)
    try:
        pl.read_parquet(url("missing.parquet"), storage_options=OPTIONS)
        check("missing key", "found", "an error")
    except OSError:
        pass


s3.create_bucket(Bucket=BUCKET)
data = frame(ROWS, 10)
single_files(data)
many_files(data)
for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
    s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
s3.delete_bucket(Bucket=BUCKET)
done(pl.__version__, f"Parquet, NDJSON, Arrow IPC of {ROWS:,} rows, CSV, 5 odd keys, columns and slices, "
     "partitions of 20 files")
