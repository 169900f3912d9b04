// aws-sdk-go-v2 with its default checksums: put, get, ranges, listing, batch deletion, multipart by its manager, copy,
// conditions. Prints RESULT only at the end; every check before it ends the program.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

const keys, atOnce = 2000, 16

var (
	ctx    = context.Background()
	bucket = aws.String("aws-sdk-go")
	client *s3.Client
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

// body is bytes that depend on their place and on seed.
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

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func put(key string, data []byte) *s3.PutObjectOutput {
	return must(client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: bytes.NewReader(data)}))
}

func get(key string, span *string) []byte {
	got := must(client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key, Range: span}))
	defer got.Body.Close()
	return must(io.ReadAll(got.Body))
}

func objects() {
	for _, size := range []int{0, 1, 4096, 32768, 32769, 262144, 1 << 20, 6<<20 + 7} {
		key, data := fmt.Sprint("size/", size), body(size, 1)
		put(key, data)
		check(bytes.Equal(get(key, nil), data), key)
	}
	data := body(6<<20+7, 1)
	check(bytes.Equal(get("size/6291463", aws.String("bytes=1048575-2097152")), data[1048575:2097153]), "range")
	check(bytes.Equal(get("size/6291463", aws.String("bytes=-9")), data[len(data)-9:]), "suffix")
	_, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("missing")})
	check(code(err) == "NoSuchKey", err)
	for _, key := range []string{"with space", "plus+", "a=b&c", "per%cent", "ümlaut", "🦀", "a//b"} {
		put(key, []byte(key))
		check(string(get(key, nil)) == key, key)
	}
	for _, algorithm := range []types.ChecksumAlgorithm{"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"} {
		key, data := string("checksum/"+algorithm), body(100000, 3)
		must(client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: bucket, Key: &key, Body: bytes.NewReader(data), ChecksumAlgorithm: algorithm,
		}))
		check(bytes.Equal(get(key, nil), data), key)
	}
}

func conditions() {
	key := aws.String("condition")
	first := put(*key, []byte("first")).ETag
	write := func(match, noneMatch *string) error {
		_, err := client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: bucket, Key: key, Body: bytes.NewReader([]byte("x")), IfMatch: match, IfNoneMatch: noneMatch,
		})
		return err
	}
	check(code(write(nil, aws.String("*"))) == "PreconditionFailed", "created twice")
	check(write(first, nil) == nil, "an update of what is there")
	check(code(write(first, nil)) == "PreconditionFailed", "an update of what is gone")
}

func multipart() {
	data := body(12<<20+77, 2)
	uploader := manager.NewUploader(client, func(u *manager.Uploader) { u.PartSize, u.Concurrency = 5<<20, 4 })
	// Hidden behind a plain reader, so that the length is not known.
	reader := struct{ io.Reader }{bytes.NewReader(data)}
	must(uploader.Upload(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("multi"), Body: reader}))
	file := manager.NewWriteAtBuffer(nil)
	downloader := manager.NewDownloader(client, func(d *manager.Downloader) { d.PartSize = 1 << 20 })
	must(downloader.Download(ctx, file, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("multi")}))
	check(bytes.Equal(file.Bytes(), data), "multipart")
	must(client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: bucket, Key: aws.String("copy"), CopySource: aws.String(*bucket + "/multi"),
	}))
	check(bytes.Equal(get("copy", nil), data), "copy")
}

func listing() {
	work, group := make(chan int), sync.WaitGroup{}
	for range atOnce {
		group.Go(func() {
			for i := range work {
				put(fmt.Sprintf("list/%02d/%05d", i%20, i), []byte("x"))
			}
		})
	}
	for i := range keys {
		work <- i
	}
	close(work)
	group.Wait()
	count, last := 0, ""
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("list/")})
	for pages.HasMorePages() {
		for _, object := range must(pages.NextPage(ctx)).Contents {
			check(*object.Key > last, "order of ", *object.Key)
			last = *object.Key
			count++
		}
	}
	check(count == keys, count, " keys listed")
}

func deleteAll() {
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket})
	for pages.HasMorePages() {
		var ids []types.ObjectIdentifier
		for _, object := range must(pages.NextPage(ctx)).Contents {
			ids = append(ids, types.ObjectIdentifier{Key: object.Key})
		}
		done := must(client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: ids}}))
		check(len(done.Deleted) == len(ids) && len(done.Errors) == 0, "batch delete")
	}
	must(client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket}))
}

func main() {
	client = s3.New(s3.Options{
		BaseEndpoint: aws.String(os.Getenv("STRIA_ENDPOINT")),
		Region:       os.Getenv("AWS_DEFAULT_REGION"),
		Credentials: credentials.NewStaticCredentialsProvider(
			os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), ""),
		UsePathStyle:     true,
		RetryMaxAttempts: 1,
	})
	must(client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: bucket}))
	objects()
	conditions()
	multipart()
	listing()
	deleteAll()
	fmt.Printf("RESULT %s|put and get of 8 sizes, ranges, 5 checksums, conditions, upload and download in parts, copy, list and batch delete of %d keys\n",
		s3.ServiceID+" "+goModuleVersion(), keys)
}
