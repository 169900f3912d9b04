"""DuckDB with its httpfs extension, which PyPI has: COPY to and from objects, globs, partitions."""

import boto3
import duckdb
from botocore.config import Config
from duckdb_extensions import import_extension

from common import *

BUCKET = "duckdb-httpfs"
s3 = boto3.client("s3", endpoint_url=ENDPOINT, config=Config(s3={"addressing_style": "path"}))
ROWS = 500_000 if QUICK else 5_000_000


def open_database():
    import_extension("httpfs")
    db = duckdb.connect()
    db.execute("LOAD httpfs")
    host = ENDPOINT.removeprefix("http://")
    db.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{ACCESS_KEY}', SECRET '{SECRET_KEY}', REGION '{REGION}', "
        f"ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false)"
    )
    return db


def value(db, query):
    return db.execute(query).fetchone()


def digest(db, source):
    """Of all rows, whatever their order."""
    return value(db, f"SELECT count(*), sum(n), bit_xor(hash(n, noise, text)) FROM {source}")


def files(db):
    db.execute(
        "CREATE TABLE t AS SELECT n, hash(n) AS noise, 'text ä ' || (n % 97) AS text, n % 5 AS part "
        f"FROM range({ROWS}) r(n)"
    )
    expected = digest(db, "t")
    for name, options in [
        ("t.parquet", "FORMAT parquet, COMPRESSION uncompressed"), ("t.csv", "FORMAT csv"), ("t.json", "FORMAT json"),
        ("t.csv.gz", "FORMAT csv, COMPRESSION gzip"),
    ]:
        db.execute(f"COPY t TO 's3://{BUCKET}/{name}' ({options})")
        source = {"parquet": "read_parquet", "json": "read_json"}.get(name.split(".")[-1], "read_csv")
        columns = "" if source != "read_json" else ", columns = {n: 'BIGINT', noise: 'UBIGINT', text: 'VARCHAR'}"
        types = "" if source != "read_csv" else ", types = {'n': 'BIGINT', 'noise': 'UBIGINT'}"
        check(name, digest(db, f"{source}('s3://{BUCKET}/{name}'{columns}{types})"), expected)
    some = value(db, f"SELECT noise FROM 's3://{BUCKET}/t.parquet' WHERE n = {ROWS - 7}")
    check("one row by range requests", some, value(db, f"SELECT noise FROM t WHERE n = {ROWS - 7}"))
    return expected


def trees(db, expected):
    db.execute(f"COPY t TO 's3://{BUCKET}/tree' (FORMAT parquet, PARTITION_BY (part))")
    check("files", len({e["Key"] for e in s3.list_objects_v2(Bucket=BUCKET, Prefix="tree/")["Contents"]}) >= 5, True)
    check("a tree of files", digest(db, f"read_parquet('s3://{BUCKET}/tree/*/*.parquet')"), expected)
    check("one partition", value(db, f"SELECT count(*) FROM read_parquet('s3://{BUCKET}/tree/**', "
                                     "hive_partitioning = true) WHERE part = 3")[0], ROWS // 5)
    check("globs", value(db, f"SELECT count(*) FROM glob('s3://{BUCKET}/tree/part=3/*')")[0] >= 1, True)


def blobs(db):
    for size in SIZES:
        data = body(size, 11)
        s3.put_object(Bucket=BUCKET, Key=f"size/{size}", Body=data)
        found = value(db, f"SELECT content FROM read_blob('s3://{BUCKET}/size/{size}')")[0]
        check_bytes(f"read of {size}", bytes(found), data)
    for i, key in enumerate(["with space", "plus+plus", "umlaut-äöü", "per%cent", "hash#tag", "a//b"]):
        path = f"s3://{BUCKET}/odd/{key}.csv"
        db.execute(f"COPY (SELECT {i} AS k) TO '{path}' (FORMAT csv, HEADER false)")
        check(f"key {key!r}, stored", s3.get_object(Bucket=BUCKET, Key=f"odd/{key}.csv")["Body"].read().decode(),
              f"{i}\n")
        check(f"key {key!r}", value(db, f"SELECT * FROM read_csv('{path}', header = false)"), (i,))
    try:
        value(db, f"SELECT * FROM read_blob('s3://{BUCKET}/missing')")
        check("missing key", "found", "an error")
    except (duckdb.HTTPException, duckdb.IOException):
        pass


s3.create_bucket(Bucket=BUCKET)
db = open_database()
trees(db, files(db))
blobs(db)
for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
    s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
s3.delete_bucket(Bucket=BUCKET)
done(duckdb.__version__, f"COPY of {ROWS:,} rows as Parquet, CSV, gzip and JSON both ways, partitions, globs, "
     f"{len(SIZES)} sizes, 6 odd keys")
