#!/bin/sh
# s5cmd: hundreds of requests at once, parts in both directions.
. "$(dirname "$0")/common.sh"
bucket=s5cmd
s() { "$STRIA_CLIENTS_TOOLS/s5cmd" --endpoint-url "$STRIA_ENDPOINT" --retry-count 0 "$@"; }
# Without a line for each object.
q() { s --log error "$@"; }
files=5000
[ "$STRIA_CLIENTS_QUICK" = 1 ] && files=500

tree "$dir/s5cmd" $files
head -c 83M /dev/urandom >"$dir/s5cmd-large"
q mb "s3://$bucket"
q cp "$dir/s5cmd/" "s3://$bucket/tree/"
equal "ls" "$(s ls "s3://$bucket/tree/*" | wc -l)" $files
equal "folders" "$(s ls "s3://$bucket/tree/" | grep -c DIR)" 7
q cp "s3://$bucket/tree/*" "$dir/s5cmd.back/"
diff -r "$dir/s5cmd" "$dir/s5cmd.back" || fail "both ways: the folders differ"
checks=$((checks + 1))
equal "a second sync moves nothing" "$(s sync --size-only "$dir/s5cmd/" "s3://$bucket/tree/" | wc -l)" 0
rm "$dir/s5cmd/d 3+/f-3.bin"
q sync --size-only --delete "$dir/s5cmd/" "s3://$bucket/tree/"
equal "sync --delete" "$(s ls "s3://$bucket/tree/*" | wc -l)" $((files - 1))

q cp --part-size 5 --concurrency 8 "$dir/s5cmd-large" "s3://$bucket/large +ä%25"
q cp --part-size 7 --concurrency 8 "s3://$bucket/large +ä%25" "$dir/s5cmd-large.back"
same "parts both ways" "$dir/s5cmd-large" "$dir/s5cmd-large.back"
q cp "s3://$bucket/large +ä%25" "s3://$bucket/copy"
s cat "s3://$bucket/copy" >"$dir/s5cmd-large.back"
same "copy, and cat in parts" "$dir/s5cmd-large" "$dir/s5cmd-large.back"
q mv "s3://$bucket/copy" "s3://$bucket/moved"
equal "moved" "$(s ls "s3://$bucket/*" | grep -c ' moved$')" 1
head -c 12M "$dir/s5cmd-large" | q pipe "s3://$bucket/piped"
equal "piped" "$(s cat "s3://$bucket/piped" | sha256sum)" "$(head -c 12M "$dir/s5cmd-large" | sha256sum)"
: >"$dir/s5cmd-empty"
q cp "$dir/s5cmd-empty" "s3://$bucket/empty"
equal "an empty object" "$(s cat "s3://$bucket/empty" | wc -c)" 0
equal "du" "$(s du "s3://$bucket/piped" | cut -d' ' -f1)" $((12 * 1024 * 1024))
s head "s3://$bucket/piped" >"$dir/s5cmd.head"
grep -q '"content_length":12582912\|"size":12582912' "$dir/s5cmd.head" || fail "head: $(cat "$dir/s5cmd.head")"
for key in 'a//b' 'with space' 'plus+plus' 'per%2Fcent' 'umlaut-äöü' 'hash#tag' 'a=b&c=d' 'star*'; do
    echo "$key" >"$dir/s5cmd-key"
    q cp --raw "$dir/s5cmd-key" "s3://$bucket/odd/$key"
    q cp --raw "s3://$bucket/odd/$key" "$dir/s5cmd-key.back"
    same "key '$key'" "$dir/s5cmd-key" "$dir/s5cmd-key.back"
done
if s cat "s3://$bucket/missing" >"$dir/s5cmd.missing" 2>&1; then fail "a missing key was found"; fi
grep -q 'not found' "$dir/s5cmd.missing" || fail "missing key: $(cat "$dir/s5cmd.missing")"
url=$(s presign --expire 60s "s3://$bucket/piped")
equal "presigned" "$(curl -sfS "$url" | sha256sum)" "$(head -c 12M "$dir/s5cmd-large" | sha256sum)"
i=0
while [ $i -lt 1000 ]; do
    echo "cp '$dir/s5cmd-key' 's3://$bucket/batch/$i'"
    i=$((i + 1))
done >"$dir/s5cmd.commands"
q run "$dir/s5cmd.commands"
equal "1,000 commands of a file" "$(s ls "s3://$bucket/batch/*" | wc -l)" 1000
q rm "s3://$bucket/*"
if s ls "s3://$bucket/*" >"$dir/s5cmd.ls" 2>&1; then equal "nothing is left" "$(wc -l <"$dir/s5cmd.ls")" 0; fi
q rb "s3://$bucket"
rm -rf "$dir/s5cmd" "$dir/s5cmd".* "$dir/s5cmd-"*
finish "$(sed 's/.*@//' "$STRIA_CLIENTS_TOOLS/s5cmd.pin")" \
    "cp of $files files both ways, sync --delete, 83 MiB in parts, copy, move, pipe, 8 odd keys, presign, run, batch delete"
