# What the shell programs share. Sourced with the variables of `cargo xtask clients` set.
set -eu
dir="$STRIA_CLIENTS_DIR"
checks=0

fail() {
    echo "FAILED $*" >&2
    exit 1
}

# same WHAT FILE FILE: byte for byte.
same() {
    [ "$(sha256sum <"$2")" = "$(sha256sum <"$3")" ] || fail "$1: $2 and $3 differ"
    checks=$((checks + 1))
}

# equal WHAT FOUND EXPECTED
equal() {
    [ "$2" = "$3" ] || fail "$1: got '$2', expected '$3'"
    checks=$((checks + 1))
}

# tree FOLDER COUNT: that many small files of many sizes, two levels deep, names with spaces and signs.
tree() {
    mkdir -p "$1"
    i=0
    while [ $i -lt "$2" ]; do
        folder="$1/d $((i % 7))+"
        [ -d "$folder" ] || mkdir "$folder"
        head -c $(((i * 197) % 70000)) "$dir/noise" >"$folder/f-$i.bin"
        i=$((i + 1))
    done
}

[ -f "$dir/noise" ] || head -c 70000 /dev/urandom >"$dir/noise"

finish() {
    echo "RESULT $1|$2; $checks checks"
}
