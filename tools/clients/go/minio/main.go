// minio-go: put, get, ranges, streams of unknown length, listing, batch deletion, copy, compose, presigned URLs.
// Prints RESULT only at the end; every check before it ends the program.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	bucket = "minio-go"
	keys   = 1000
)

var (
	ctx    = context.Background()
	client *minio.Client
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func check(holds bool, what ...any) {
	if !holds {
		log.Fatal(what...)
	}
}

func body(count int, seed uint32) []byte {
	out, state := make([]byte, count), seed*2654435761|1
	for i := range out {
		state ^= state << 13
		state ^= state >> 17
		state ^= state << 5
		out[i] = byte(state)
	}
	return out
}

func put(key string, data []byte) {
	must(client.PutObject(ctx, bucket, key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{}))
}

func get(key string, options minio.GetObjectOptions) []byte {
	return must(io.ReadAll(must(client.GetObject(ctx, bucket, key, options))))
}

func objects() {
	for _, size := range []int{0, 1, 4096, 32768, 32769, 262144, 1 << 20, 17<<20 + 7} {
		key, data := fmt.Sprint("size/", size), body(size, 1)
		put(key, data)
		check(bytes.Equal(get(key, minio.GetObjectOptions{}), data), key)
		check(must(client.StatObject(ctx, bucket, key, minio.StatObjectOptions{})).Size == int64(size), key)
	}
	options := minio.GetObjectOptions{}
	check(options.SetRange(1048575, 2097152) == nil, "range")
	check(bytes.Equal(get(fmt.Sprint("size/", 17<<20+7), options), body(17<<20+7, 1)[1048575:2097153]), "range")
	_, err := client.StatObject(ctx, bucket, "missing", minio.StatObjectOptions{})
	check(minio.ToErrorResponse(err).Code == minio.NoSuchKey, err)
	// A stream of unknown length goes in parts; the size of a part bounds the memory of the client.
	data := body(11<<20, 2)
	must(client.PutObject(ctx, bucket, "stream", struct{ io.Reader }{bytes.NewReader(data)}, -1,
		minio.PutObjectOptions{PartSize: 5 << 20}))
	check(bytes.Equal(get("stream", minio.GetObjectOptions{}), data), "stream")
	must(client.CopyObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: "copy"},
		minio.CopySrcOptions{Bucket: bucket, Object: "stream"}))
	check(bytes.Equal(get("copy", minio.GetObjectOptions{}), data), "copy")
	must(client.ComposeObject(ctx, minio.CopyDestOptions{Bucket: bucket, Object: "composed"},
		minio.CopySrcOptions{Bucket: bucket, Object: "stream"}, minio.CopySrcOptions{Bucket: bucket, Object: "copy"}))
	check(bytes.Equal(get("composed", minio.GetObjectOptions{}), append(data, data...)), "composed")
}

func presigned() {
	url := must(client.PresignedPutObject(ctx, bucket, "presigned", time.Minute))
	request := must(http.NewRequest(http.MethodPut, url.String(), strings.NewReader("by http")))
	check(must(http.DefaultClient.Do(request)).StatusCode == 200, "presigned put")
	url = must(client.PresignedGetObject(ctx, bucket, "presigned", time.Minute, nil))
	check(string(must(io.ReadAll(must(http.Get(url.String())).Body))) == "by http", "presigned get")
}

func listing() {
	for i := range keys {
		put(fmt.Sprintf("list/%02d/%05d", i%20, i), []byte("x"))
	}
	count, last := 0, ""
	for object := range client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: "list/", Recursive: true, MaxKeys: 300}) {
		check(object.Err == nil && object.Key > last, "list: ", object.Err, object.Key)
		last = object.Key
		count++
	}
	check(count == keys, count, " keys listed")
	folders := 0
	for object := range client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: "list/"}) {
		check(object.Err == nil && strings.HasSuffix(object.Key, "/"), "folder: ", object.Key)
		folders++
	}
	check(folders == 20, folders, " folders")
}

func deleteAll() {
	all := client.ListObjects(ctx, bucket, minio.ListObjectsOptions{Recursive: true})
	for failed := range client.RemoveObjects(ctx, bucket, all, minio.RemoveObjectsOptions{}) {
		log.Fatal(failed.Err)
	}
	check(client.RemoveBucket(ctx, bucket) == nil, "the bucket goes")
}

func main() {
	endpoint := strings.TrimPrefix(os.Getenv("STRIA_ENDPOINT"), "http://")
	client = must(minio.New(endpoint, &minio.Options{
		Creds:  credentials.NewStaticV4(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), ""),
		Region: os.Getenv("AWS_DEFAULT_REGION"),
	}))
	check(client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{}) == nil, "the bucket")
	objects()
	presigned()
	listing()
	deleteAll()
	fmt.Printf("RESULT %s|put and get of 8 sizes, range, stream of unknown length, copy, compose, presigned, list and batch delete of %d keys\n",
		goModuleVersion(), keys)
}
