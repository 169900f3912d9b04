#!/bin/sh
# restic: packs of some MiB, locks as objects, listings of every kind of file, reads of ranges in packs.
. "$(dirname "$0")/common.sh"
bucket=restic
export RESTIC_PASSWORD=secret RESTIC_CACHE_DIR="$dir/restic.cache"
r() { "$STRIA_CLIENTS_TOOLS/restic" -q -o s3.bucket-lookup=path -r "s3:$STRIA_ENDPOINT/$bucket/a repository" "$@"; }
snapshots() { r snapshots --json | grep -o '"short_id"' | wc -l; }
files=3000
[ "$STRIA_CLIENTS_QUICK" = 1 ] && files=300

tree "$dir/restic" $files
head -c 90M /dev/urandom >"$dir/restic/large +ä.bin"
# It makes the bucket itself.
r init
if r init 2>"$dir/restic.init"; then fail "a second init"; fi
grep -q 'already' "$dir/restic.init" || fail "a second init: $(cat "$dir/restic.init")"
(cd "$dir" && r backup restic)
equal "a snapshot" "$(snapshots)" 1
r check --read-data
rm "$dir/restic/d 3+"/*
head -c 1M /dev/urandom >>"$dir/restic/large +ä.bin"
(cd "$dir" && r backup restic)
equal "two snapshots" "$(snapshots)" 2
r restore latest --target "$dir/restic.back"
diff -r "$dir/restic" "$dir/restic.back/restic" || fail "restored: the folders differ"
checks=$((checks + 1))
# Without what it has on this machine, all of it comes from the server.
rm -rf "$dir/restic.back" "$dir/restic.cache"
r restore latest --target "$dir/restic.back"
diff -r "$dir/restic" "$dir/restic.back/restic" || fail "restored without cache: the folders differ"
checks=$((checks + 1))
r dump latest "/restic/large +ä.bin" >"$dir/restic.dump"
same "dump" "$dir/restic.dump" "$dir/restic/large +ä.bin"
r key list >"$dir/restic.keys"
r tag --add tagged latest
equal "tagged" "$(r snapshots --json --tag tagged | grep -o '"short_id"' | wc -l)" 1
r forget --keep-last 1 --prune
equal "one snapshot" "$(snapshots)" 1
r check --read-data
equal "no lock is left" "$(r list locks --no-lock | wc -l)" 0
checks=$((checks + 2))
# Two at once: both take a lock that is not exclusive, and find each other's.
(cd "$dir" && r backup "restic/d 1+") &
first=$!
(cd "$dir" && r backup "restic/d 2+")
wait $first || fail "the first of two backups"
equal "two backups at once" "$(snapshots)" 3
rm -rf "$dir/restic" "$dir/restic".*
finish "$(sed 's/.*@v//' "$STRIA_CLIENTS_TOOLS/restic.pin")" \
    "init, backup of $files files and 90 MiB, check --read-data, restore, dump, tag, forget --prune, two backups at once"
