#!/bin/sh
# s3fs-fuse: a bucket as a file system; random writes become copies of parts.
. "$(dirname "$0")/common.sh"
bucket=s3fs-fuse
mount="$dir/s3fs.mount"
[ -c /dev/fuse ] || fail "no /dev/fuse"
mkdir -p "$mount" "$dir/s3fs.tmp"
printf '%s:%s\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" >"$dir/s3fs.passwd"
chmod 600 "$dir/s3fs.passwd"
"$STRIA_CLIENTS_BIN/aws" --endpoint-url "$STRIA_ENDPOINT" s3 mb "s3://$bucket"
attach() {
    s3fs "$bucket" "$mount" -o "passwd_file=$dir/s3fs.passwd,url=$STRIA_ENDPOINT,use_path_request_style" \
        -o "endpoint=$AWS_DEFAULT_REGION,multipart_size=5,tmpdir=$dir/s3fs.tmp,retries=1,logfile=$dir/s3fs.log"
    i=0
    until mountpoint -q "$mount"; do
        i=$((i + 1))
        [ $i -lt 100 ] || fail "not mounted: $(cat "$dir/s3fs.log")"
        sleep 0.1
    done
}
detach() { fusermount -u "$mount" || umount "$mount"; }
trap 'mountpoint -q "$mount" && umount -l "$mount"' EXIT
# Of what was written before, nothing comes from this machine.
again() { detach && attach; }

tree "$dir/s3fs" 100
head -c 33M /dev/urandom >"$dir/s3fs/large +ä.bin"
attach
cp -r "$dir/s3fs" "$mount/tree"
again
diff -r "$dir/s3fs" "$mount/tree" || fail "both ways: the folders differ"
checks=$((checks + 1))
equal "find" "$(find "$mount/tree" -type f | wc -l)" 101
printf 'changed' | dd of="$mount/tree/large +ä.bin" bs=1 seek=12345678 conv=notrunc status=none
printf 'changed' | dd of="$dir/s3fs/large +ä.bin" bs=1 seek=12345678 conv=notrunc status=none
echo appended >>"$mount/tree/large +ä.bin"
echo appended >>"$dir/s3fs/large +ä.bin"
again
same "changed in the middle, appended to" "$mount/tree/large +ä.bin" "$dir/s3fs/large +ä.bin"
mv "$mount/tree/large +ä.bin" "$mount/moved"
mv "$mount/tree/d 1+" "$mount/tree/renamed"
chmod 640 "$mount/moved"
ln -s moved "$mount/link"
again
same "moved, by a link" "$mount/link" "$dir/s3fs/large +ä.bin"
equal "mode" "$(stat -c %a "$mount/moved")" 640
diff -r "$dir/s3fs/d 1+" "$mount/tree/renamed" || fail "a renamed folder differs"
checks=$((checks + 1))
truncate -s 1000000 "$mount/moved"
again
equal "truncated" "$(sha256sum <"$mount/moved")" "$(head -c 1000000 "$dir/s3fs/large +ä.bin" | sha256sum)"
rm -r "$mount/tree" "$mount/moved" "$mount/link"
again
equal "nothing is left" "$(ls -A "$mount" | wc -l)" 0
detach
"$STRIA_CLIENTS_BIN/aws" --endpoint-url "$STRIA_ENDPOINT" s3 rb "s3://$bucket"
rm -rf "$dir/s3fs" "$dir/s3fs".*
finish "$(s3fs --version | sed -n 's/.*V\([0-9.]*\).*/\1/p')" \
    "a tree of 101 files with cp and diff, 33 MiB in parts, changes in the middle, append, rename, truncate, links, rm"
