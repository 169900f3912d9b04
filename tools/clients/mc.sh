#!/bin/sh
# mc: the command line of MinIO; mirror, pipe, versions, presigned shares.
. "$(dirname "$0")/common.sh"
bucket=mc-client
m() { "$STRIA_CLIENTS_TOOLS/mc" --config-dir "$dir/mc.config" --quiet --no-color "$@"; }
files=2000
[ "$STRIA_CLIENTS_QUICK" = 1 ] && files=200

tree "$dir/mc" $files
head -c 83M /dev/urandom >"$dir/mc-large"
m alias set stria "$STRIA_ENDPOINT" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" --api S3v4 --path on >"$dir/mc.out"
m mb "stria/$bucket" >"$dir/mc.out"
m mirror "$dir/mc" "stria/$bucket/tree" >"$dir/mc.out"
equal "ls" "$(m ls --recursive "stria/$bucket/tree" | wc -l)" $files
equal "find" "$(m find "stria/$bucket/tree" --name 'f-1*.bin' | wc -l)" "$(find "$dir/mc" -name 'f-1*.bin' | wc -l)"
m mirror "stria/$bucket/tree" "$dir/mc.back" >"$dir/mc.out"
diff -r "$dir/mc" "$dir/mc.back" || fail "mirror both ways: the folders differ"
checks=$((checks + 1))
equal "diff" "$(m diff "$dir/mc" "stria/$bucket/tree" | wc -l)" 0
rm "$dir/mc/d 3+/f-3.bin"
m mirror --remove --overwrite "$dir/mc" "stria/$bucket/tree" >"$dir/mc.out"
equal "mirror --remove" "$(m ls --recursive "stria/$bucket/tree" | wc -l)" $((files - 1))

m cp --attr "colour=blue" "$dir/mc-large" "stria/$bucket/large +ä%25" >"$dir/mc.out"
m cp "stria/$bucket/large +ä%25" "$dir/mc-large.back" >"$dir/mc.out"
same "parts both ways" "$dir/mc-large" "$dir/mc-large.back"
m stat "stria/$bucket/large +ä%25" >"$dir/mc.stat"
grep -qi 'colour *: blue' "$dir/mc.stat" || fail "stat: $(cat "$dir/mc.stat")"
m cp "stria/$bucket/large +ä%25" "stria/$bucket/copy" >"$dir/mc.out"
m cat "stria/$bucket/copy" >"$dir/mc-large.back"
same "copy" "$dir/mc-large" "$dir/mc-large.back"
equal "cat at an offset" "$(m cat --offset 5000001 "stria/$bucket/copy" | sha256sum)" "$(tail -c +5000002 "$dir/mc-large" | sha256sum)"
m mv "stria/$bucket/copy" "stria/$bucket/moved" >"$dir/mc.out"
if m stat "stria/$bucket/copy" >"$dir/mc.out" 2>&1; then fail "a key is there after mv"; fi
head -c 30M "$dir/mc-large" | m pipe "stria/$bucket/piped" >"$dir/mc.out"
equal "piped" "$(m cat "stria/$bucket/piped" | sha256sum)" "$(head -c 30M "$dir/mc-large" | sha256sum)"
for key in 'with space' 'plus+plus' 'per%2Fcent' 'umlaut-äöü' 'hash#tag' 'a=b&c=d' 'question?mark' 'star*'; do
    echo "$key" >"$dir/mc-key"
    m pipe "stria/$bucket/odd/$key" <"$dir/mc-key" >"$dir/mc.out"
    equal "key '$key'" "$(m cat "stria/$bucket/odd/$key")" "$key"
done
url=$(m share download --expire 1h "stria/$bucket/piped" | sed -n 's/^Share: //p')
equal "shared" "$(curl -sfS "$url" | sha256sum)" "$(head -c 30M "$dir/mc-large" | sha256sum)"
m tag set "stria/$bucket/piped" "a=b&c=d" >"$dir/mc.out"
m tag list --json "stria/$bucket/piped" | grep -q '"c": *"d"' || fail "tags"
checks=$((checks + 2))
bytes=$(find "$dir/mc" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
m du --json "stria/$bucket/tree" | tr -d ' \n' >"$dir/mc.du"
grep -q "\"size\":$bytes[,}]" "$dir/mc.du" || fail "du: $(cat "$dir/mc.du"), expected $bytes"

m mb "stria/$bucket-versions" >"$dir/mc.out"
m version enable "stria/$bucket-versions" >"$dir/mc.out"
for n in 1 2 3; do echo $n | m pipe "stria/$bucket-versions/key" >"$dir/mc.out"; done
m rm "stria/$bucket-versions/key" >"$dir/mc.out"
equal "versions" "$(m ls --versions "stria/$bucket-versions" | wc -l)" 4
m undo --last 1 "stria/$bucket-versions/key" >"$dir/mc.out"
equal "undone" "$(m cat "stria/$bucket-versions/key")" 3
m rm --recursive --force --versions "stria/$bucket-versions" >"$dir/mc.out"
m rb "stria/$bucket-versions" >"$dir/mc.out"
if m rb "stria/$bucket" >"$dir/mc.out" 2>&1; then fail "rb of a bucket with objects"; fi
m rm --recursive --force "stria/$bucket" >"$dir/mc.out"
equal "nothing is left" "$(m ls --recursive "stria/$bucket" | wc -l)" 0
m rb "stria/$bucket" >"$dir/mc.out"
rm -rf "$dir/mc" "$dir/mc".* "$dir/mc-"*
finish "$(sed 's/.*@v0.0.0-//' "$STRIA_CLIENTS_TOOLS/mc.pin")" \
    "mirror of $files files both ways, diff, 83 MiB in parts, copy, move, pipe, 8 odd keys, share, tags, versions and undo, rm, rb"
