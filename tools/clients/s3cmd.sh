#!/bin/sh
# s3cmd: ListObjects version 1, GetBucketLocation, MD5 ETags.
. "$(dirname "$0")/common.sh"
bucket=s3cmd
host=${STRIA_ENDPOINT#http://}
s() {
    "$STRIA_CLIENTS_BIN/s3cmd" -c /dev/null --no-ssl --host "$host" --host-bucket "$host" --region "$AWS_DEFAULT_REGION" \
        --access_key "$AWS_ACCESS_KEY_ID" --secret_key "$AWS_SECRET_ACCESS_KEY" --no-progress --max-retries 1 "$@"
}

tree "$dir/s3cmd" 200
head -c 23M /dev/urandom >"$dir/s3cmd-large"
s mb "s3://$bucket"
s put -q --recursive "$dir/s3cmd/" "s3://$bucket/tree/"
equal "ls" "$(s ls --recursive "s3://$bucket/tree/" | wc -l)" 200
mkdir -p "$dir/s3cmd.back"
s get -q --recursive "s3://$bucket/tree/" "$dir/s3cmd.back/"
diff -r "$dir/s3cmd" "$dir/s3cmd.back" || fail "both ways: the folders differ"
checks=$((checks + 1))
equal "a second sync moves nothing" "$(s sync --dry-run "$dir/s3cmd/" "s3://$bucket/tree/" | grep -c '^upload' || true)" 0
s put -q --multipart-chunk-size-mb=5 "$dir/s3cmd-large" "s3://$bucket/large +1"
s get -q --force "s3://$bucket/large +1" "$dir/s3cmd-large.back"
same "multipart" "$dir/s3cmd-large" "$dir/s3cmd-large.back"
head -c 1000000 "$dir/s3cmd-large" >"$dir/s3cmd-large.back"
s get -q --continue "s3://$bucket/large +1" "$dir/s3cmd-large.back"
same "range, as a download that goes on" "$dir/s3cmd-large" "$dir/s3cmd-large.back"
s cp -q "s3://$bucket/large +1" "s3://$bucket/copy"
s get -q --force "s3://$bucket/copy" "$dir/s3cmd-large.back"
same "copy" "$dir/s3cmd-large" "$dir/s3cmd-large.back"
s mv -q "s3://$bucket/copy" "s3://$bucket/moved"
s info "s3://$bucket/moved" >"$dir/s3cmd.info" || fail "info of an object"
grep -q 'File size' "$dir/s3cmd.info" || fail "info of an object: $(cat "$dir/s3cmd.info")"
s info "s3://$bucket" >"$dir/s3cmd.info" || fail "info of a bucket"
s signurl "s3://$bucket/moved" +60 >"$dir/s3cmd.url"
s del -q --recursive --force "s3://$bucket"
equal "nothing is left" "$(s ls --recursive "s3://$bucket" | wc -l)" 0
s rb "s3://$bucket"
rm -rf "$dir/s3cmd" "$dir/s3cmd.back" "$dir/s3cmd-large" "$dir/s3cmd-large.back"
finish "$("$STRIA_CLIENTS_BIN/s3cmd" --version | sed 's/s3cmd version //')" \
    "put and get of 200 files, sync, 23 MiB in parts, range, copy, move, info, del, rb"
