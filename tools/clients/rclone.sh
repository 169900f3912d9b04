#!/bin/sh
# rclone: it compares MD5 ETags, keeps times in metadata, and lists with a delimiter.
. "$(dirname "$0")/common.sh"
bucket=rclone
export RCLONE_CONFIG="$dir/rclone.conf"
cat >"$RCLONE_CONFIG" <<CONFIG
[stria]
type = s3
provider = Other
endpoint = $STRIA_ENDPOINT
access_key_id = $AWS_ACCESS_KEY_ID
secret_access_key = $AWS_SECRET_ACCESS_KEY
region = $AWS_DEFAULT_REGION
chunk_size = 5Mi
upload_cutoff = 8Mi
CONFIG
r() { rclone --retries 1 --low-level-retries 1 "$@"; }

tree "$dir/rclone" 200
head -c 23M /dev/urandom >"$dir/rclone/large +ä.bin"
r mkdir "stria:$bucket"
r copy "$dir/rclone" "stria:$bucket/tree"
r check --download "$dir/rclone" "stria:$bucket/tree" 2>"$dir/rclone.log" || fail "check: $(cat "$dir/rclone.log")"
checks=$((checks + 1))
equal "a second sync moves nothing" "$(r sync -v --dry-run "$dir/rclone" "stria:$bucket/tree" 2>&1 | grep -c 'Skipped copy' || true)" 0
r sync "stria:$bucket/tree" "$dir/rclone.back"
diff -r "$dir/rclone" "$dir/rclone.back" || fail "sync back: the folders differ"
checks=$((checks + 1))
equal "lsf" "$(r lsf -R --files-only "stria:$bucket/tree" | wc -l)" 201
equal "directories" "$(r lsd "stria:$bucket/tree" | wc -l)" 7
r cat --offset 1000 --count 5000 "stria:$bucket/tree/large +ä.bin" >"$dir/rclone.range"
tail -c +1001 "$dir/rclone/large +ä.bin" | head -c 5000 >"$dir/rclone.expected"
same "range" "$dir/rclone.range" "$dir/rclone.expected"
r copyto "stria:$bucket/tree/large +ä.bin" "stria:$bucket/copy"
r cat "stria:$bucket/copy" >"$dir/rclone.copy"
same "copy on the server" "$dir/rclone.copy" "$dir/rclone/large +ä.bin"
r moveto "stria:$bucket/copy" "stria:$bucket/moved"
equal "moved" "$(r lsf "stria:$bucket" | tr '\n' ' ')" "moved tree/ "
head -c 12M "$dir/rclone/large +ä.bin" | r rcat "stria:$bucket/streamed"
equal "streamed" "$(r cat "stria:$bucket/streamed" | sha256sum)" "$(head -c 12M "$dir/rclone/large +ä.bin" | sha256sum)"
r delete "stria:$bucket"
equal "nothing is left" "$(r lsf -R --files-only "stria:$bucket" | wc -l)" 0
r rmdir "stria:$bucket"
rm -rf "$dir/rclone" "$dir/rclone.back" "$dir/rclone".*
finish "$(rclone version 2>&1 | sed -n 's/^rclone v//p')" \
    "copy and sync of 201 files, check --download, 23 MiB in parts, range, copy, move, stream, delete"
