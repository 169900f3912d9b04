#!/usr/bin/env bash
# PUT and GET by size and connections against one core: interleaved rounds, server on CPU 0, load on CPU 1.
#
#   STRIA=target/release/stria LOAD='LOADER ... {endpoint} {op} {size} {connections} {seconds} {pid}' \
#     perf/s3/run.sh OUT [ROUNDS [SECONDS]]
#
# LOAD is any S3 load generator; the words in braces are filled in, keys are in AWS_ACCESS_KEY_ID and
# AWS_SECRET_ACCESS_KEY, the bucket is `bench`. Its output is kept as OUT/OP-SIZE-CONNECTIONS-ROUND.txt.
# The server's CPU time around each run is written beside it (.cpu: microseconds before and after).
set -eu
out=$1 rounds=${2:-3} seconds=${3:-3}
sizes=${SIZES:-1KiB 64KiB 1MiB 16MiB} connections=${CONNECTIONS:-1 16 64} ops=${OPS:-put get}
port=${PORT:-19300} data=$(mktemp -d "${DATA_PARENT:-/tmp}/stria-s3-XXXX")
export AWS_ACCESS_KEY_ID=stria AWS_SECRET_ACCESS_KEY=secretsecret
mkdir -p "$out"
STRIA_ROOT_ACCESS_KEY=stria STRIA_ROOT_SECRET_KEY=secretsecret taskset -c 0 "$STRIA" serve --cores 1 \
  --data "$data" --listen 127.0.0.1:$port --admin-listen 127.0.0.1:$((port + 1)) ${FLAGS:-} > "$out/server.txt" &
pid=$!
trap 'kill $pid; wait $pid; rm -rf "$data"' EXIT
until grep -q 'ready after' "$out/server.txt"; do sleep 0.1; done
curl -sf --aws-sigv4 aws:amz:us-east-1:s3 -u stria:secretsecret -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \
  -X PUT "http://127.0.0.1:$port/bench"
cpu_us() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) * 1000000 / hz }' "/proc/$pid/stat"; }
for round in $(seq "$rounds"); do
  for size in $sizes; do
    for count in $connections; do
      for op in $ops; do
        name=$op-$size-$count-$round
        command=$LOAD
        for pair in "endpoint=http://127.0.0.1:$port" op=$op size=$size connections=$count seconds=$seconds pid=$pid; do
          command=${command//\{${pair%%=*}\}/${pair#*=}}
        done
        before=$(cpu_us)
        taskset -c 1 $command > "$out/$name.txt" || echo "failed: $name"
        echo "$before $(cpu_us)" > "$out/$name.cpu"
      done
    done
  done
done
