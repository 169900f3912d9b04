#!/bin/sh
# The aws cli: a large file in parts, many small files both ways, presigned URLs.
. "$(dirname "$0")/common.sh"
bucket=${STRIA_CLIENTS_NAME:-aws-cli}
# Without it, presigned URLs of us-east-1 still come with signatures of version 2.
export AWS_CONFIG_FILE="$dir/aws-config"
printf '[default]\ns3 =\n    signature_version = s3v4\n' >"$AWS_CONFIG_FILE"
# As `aws-cli-v2` it is the aws of Debian, which is version 2.
[ "${STRIA_CLIENTS_NAME:-}" = aws-cli-v2 ] && STRIA_CLIENTS_BIN=/usr/bin
aws() { "$STRIA_CLIENTS_BIN/aws" --endpoint-url "$STRIA_ENDPOINT" "$@"; }

large_mib=1024
[ "$STRIA_CLIENTS_QUICK" = 1 ] && large_mib=256
head -c "${large_mib}M" /dev/urandom >"$dir/large"
tree "$dir/tree" 1000

aws s3 mb "s3://$bucket"
aws s3 cp --only-show-errors "$dir/large" "s3://$bucket/large file+1"
aws s3 cp --only-show-errors "s3://$bucket/large file+1" "$dir/large.back"
same "a file of $large_mib MiB" "$dir/large" "$dir/large.back"
rm "$dir/large.back"

aws s3 sync --only-show-errors "$dir/tree" "s3://$bucket/tree"
aws s3 sync --only-show-errors "s3://$bucket/tree" "$dir/tree.back"
diff -r "$dir/tree" "$dir/tree.back" || fail "sync both ways: the folders differ"
checks=$((checks + 1))
again=$(aws s3 sync "$dir/tree" "s3://$bucket/tree")
equal "a second sync moves nothing" "$again" ""

equal "ls" "$(aws s3 ls --recursive "s3://$bucket/tree/" | wc -l)" 1000
equal "ls with prefixes" "$(aws s3 ls "s3://$bucket/tree/" | grep -c PRE)" 7
equal "list-objects in pages" \
    "$(aws s3api list-objects-v2 --bucket $bucket --prefix tree/ --page-size 100 --query 'length(Contents)')" 1000

first="d 1+/f-1.bin"
url=$(aws s3 presign "s3://$bucket/tree/$first")
curl -sfS "$url" -o "$dir/presigned" || fail "curl of a presigned URL"
same "presigned" "$dir/tree/$first" "$dir/presigned"
equal "a presigned URL that was changed" "$(curl -s -o "$dir/changed" -w '%{http_code}' "$(echo "$url" | sed s/Expires=3600/Expires=3601/)")" 403
curl -sfS -r 5-14 "$url" -o "$dir/ranged"
tail -c +6 "$dir/tree/$first" | head -c 10 >"$dir/ranged.expected"
same "range with curl" "$dir/ranged" "$dir/ranged.expected"

aws s3 cp --only-show-errors "s3://$bucket/large file+1" "s3://$bucket/large copy"
aws s3 cp --only-show-errors "s3://$bucket/large copy" - | cmp - "$dir/large" || fail "a copy in parts differs"
checks=$((checks + 1))
if aws s3 rb "s3://$bucket" >"$dir/rb" 2>&1; then fail "rb of a bucket with objects"; fi
grep -q BucketNotEmpty "$dir/rb" || fail "rb of a bucket with objects: $(cat "$dir/rb")"
aws s3 rm --only-show-errors --recursive "s3://$bucket"
equal "nothing is left" "$(aws s3 ls --recursive "s3://$bucket" | wc -l)" 0
aws s3 rb "s3://$bucket"
rm -rf "$dir/large" "$dir/tree" "$dir/tree.back"
finish "$("$STRIA_CLIENTS_BIN/aws" --version 2>&1 | sed 's/aws-cli.//; s/ .*//')" \
    "mb, cp of $large_mib MiB both ways, sync of 1,000 files both ways, ls, presign with curl, copy in parts, rm, rb"
