// The AWS SDK for JavaScript, version 3, with its default checksums: put, get, ranges, streams, listing, batch
// deletion, multipart, copy, conditions, presigned URLs. Prints RESULT only at the end; every check before it throws.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Readable } from "node:stream";

// Installed below target/, named by the caller.
const require = createRequire(process.env.STRIA_CLIENTS_MODULES + "/");
const {
  AbortMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
  S3Client,
  paginateListObjectsV2,
} = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const Bucket = "aws-sdk-js";
const KEYS = 2000;
const AT_ONCE = 16;
const s3 = new S3Client({
  endpoint: process.env.STRIA_ENDPOINT,
  region: process.env.AWS_DEFAULT_REGION,
  forcePathStyle: true,
  maxAttempts: 1,
});
const send = (Command, rest) => s3.send(new Command({ Bucket, ...rest }));
const bytes = async (answer) => Buffer.from(await answer.Body.transformToByteArray());

// Bytes that depend on their place and on `seed`.
function body(count, seed) {
  const out = Buffer.alloc(count);
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    out[i] = state & 255;
  }
  return out;
}

async function refused(promise, name, status) {
  const error = await promise.then(() => null, (error) => error);
  assert.deepEqual([error?.name, error?.$metadata?.httpStatusCode], [name, status]);
}

async function many(items, work) {
  const queue = items[Symbol.iterator]();
  const worker = async () => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function objects() {
  for (const size of [0, 1, 4096, 32768, 32769, 262144, 1 << 20, (6 << 20) + 7]) {
    const data = body(size, 1);
    const put = await send(PutObjectCommand, { Key: `size/${size}`, Body: data, Metadata: { origin: "sdk" } });
    const head = await send(HeadObjectCommand, { Key: `size/${size}` });
    assert.deepEqual([head.ContentLength, head.ETag, head.Metadata.origin], [size, put.ETag, "sdk"]);
    assert(data.equals(await bytes(await send(GetObjectCommand, { Key: `size/${size}` }))), `${size}`);
  }
  const data = body((6 << 20) + 7, 1);
  for (const [Range, from, to] of [["bytes=0-0", 0, 1], ["bytes=1048575-2097152", 1048575, 2097153], ["bytes=-9", -9]]) {
    const got = await bytes(await send(GetObjectCommand, { Key: `size/${data.length}`, Range }));
    assert(got.equals(data.subarray(from, to)), Range);
  }
  await refused(send(GetObjectCommand, { Key: "missing" }), "NoSuchKey", 404);
  await refused(send(HeadObjectCommand, { Key: "missing" }), "NotFound", 404);
  for (const Key of ["with space", "plus+", "a=b&c", "per%cent", "ümlaut", "🦀", "a//b"]) {
    await send(PutObjectCommand, { Key, Body: Key });
    assert.equal(await (await send(GetObjectCommand, { Key })).Body.transformToString(), Key);
  }
  for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "SHA1", "SHA256"]) {
    const Body = body(100000, 3);
    await send(PutObjectCommand, { Key: "checksum", Body, ChecksumAlgorithm });
    const got = await bytes(await send(GetObjectCommand, { Key: "checksum", ChecksumMode: "ENABLED" }));
    assert(got.equals(Body), ChecksumAlgorithm);
  }
  // A stream of known length goes out in signed or unsigned chunks with a trailer.
  const streamed = body(300000, 4);
  const pieces = Readable.from([streamed.subarray(0, 70000), streamed.subarray(70000)]);
  await send(PutObjectCommand, { Key: "stream", Body: pieces, ContentLength: streamed.length });
  assert(streamed.equals(await bytes(await send(GetObjectCommand, { Key: "stream" }))), "stream");
}

async function conditions() {
  const { ETag } = await send(PutObjectCommand, { Key: "condition", Body: "first" });
  const put = (condition) => send(PutObjectCommand, { Key: "condition", Body: "x", ...condition });
  await refused(put({ IfNoneMatch: "*" }), "PreconditionFailed", 412);
  await put({ IfMatch: ETag });
  await refused(put({ IfMatch: ETag }), "PreconditionFailed", 412);
  await refused(send(GetObjectCommand, { Key: "condition", IfMatch: ETag }), "PreconditionFailed", 412);
}

async function multipart() {
  const data = body((12 << 20) + 77, 2);
  // A stream of unknown length, in parts, four at once.
  const Body = Readable.from(function* () {
    for (let at = 0; at < data.length; at += 100000) yield data.subarray(at, at + 100000);
  }());
  await new Upload({ client: s3, params: { Bucket, Key: "multi", Body }, partSize: 5 << 20, queueSize: 4 }).done();
  assert(data.equals(await bytes(await send(GetObjectCommand, { Key: "multi" }))), "multipart");
  await send(CopyObjectCommand, { Key: "copy of multi", CopySource: `${Bucket}/multi` });
  assert(data.equals(await bytes(await send(GetObjectCommand, { Key: "copy of multi" }))), "copy");
  const { UploadId } = await send(CreateMultipartUploadCommand, { Key: "aborted" });
  await send(AbortMultipartUploadCommand, { Key: "aborted", UploadId });
  assert.equal((await send(ListMultipartUploadsCommand, {})).Uploads, undefined);
}

async function presigned() {
  const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: "condition" }), { expiresIn: 60 });
  assert.equal(await (await fetch(url)).text(), "x");
  const put = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key: "presigned" }), { expiresIn: 60 });
  const answer = await fetch(put, { method: "PUT", body: "by fetch" });
  assert.equal(answer.status, 200, await answer.text());
  assert.equal(await (await send(GetObjectCommand, { Key: "presigned" })).Body.transformToString(), "by fetch");
}

async function listing() {
  const names = Array.from({ length: KEYS }, (_, i) => `list/${i % 20}/${String(i).padStart(5, "0")}`);
  await many(names, (Key) => send(PutObjectCommand, { Key, Body: "x" }));
  const listed = [];
  for await (const page of paginateListObjectsV2({ client: s3 }, { Bucket, Prefix: "list/" })) {
    listed.push(...page.Contents.map((object) => object.Key));
  }
  assert.deepEqual(listed, names.sort());
  const all = [];
  for await (const page of paginateListObjectsV2({ client: s3, pageSize: 1000 }, { Bucket })) {
    all.push(...page.Contents.map(({ Key }) => ({ Key })));
  }
  for (let at = 0; at < all.length; at += 1000) {
    const Objects = all.slice(at, at + 1000);
    const done = await send(DeleteObjectsCommand, { Delete: { Objects } });
    assert.deepEqual([done.Deleted.length, done.Errors], [Objects.length, undefined]);
  }
}

await send(CreateBucketCommand, {});
await objects();
await conditions();
await multipart();
await presigned();
await listing();
await send(DeleteBucketCommand, {});
const { version } = JSON.parse(readFileSync(require.resolve("@aws-sdk/client-s3/package.json")));
console.log(`RESULT ${version}|put and get of 8 sizes, ranges, checksums, streams, conditions, upload in parts, copy, presigned, list and batch delete of ${KEYS} keys`);
