#!/usr/bin/env bash
# Two or more builds side by side: each case runs against every build in turn, so that what the machine does meanwhile
# meets them alike. Servers on CPU 0, load on CPU 1.
#
#   LOAD='LOADER ... {endpoint} {op} {size} {connections} {seconds} {pid} ... --json' \
#     perf/s3/compare.sh OUT ROUNDS SECONDS 'get:1KiB:64;put:1MiB:16;get:1MiB:16:--objects 64' before=PATH after=PATH
#
# A case is operation, size, connections and further options of the load, separated by colons. LOAD is as in run.sh; it
# is given `--no-prepare` from the second round on, except for puts. OUT/OP-SIZE-CONNECTIONS-BUILD-ROUND.json keeps
# its output.
set -eu
out=$1 rounds=$2 seconds=$3 IFS=';' ; read -ra cases <<< "$4"; unset IFS; shift 4
export AWS_ACCESS_KEY_ID=stria AWS_SECRET_ACCESS_KEY=secretsecret
mkdir -p "$out"
declare -A pid_of port_of
folders=() port=${PORT:-19400}
trap 'kill "${pid_of[@]}"; wait; rm -rf "${folders[@]}"' EXIT
for build in "$@"; do
  name=${build%%=*} folder=$(mktemp -d "${DATA_PARENT:-/tmp}/stria-s3-XXXX")
  folders+=("$folder")
  STRIA_ROOT_ACCESS_KEY=stria STRIA_ROOT_SECRET_KEY=secretsecret taskset -c 0 "${build#*=}" serve --cores 1 \
    --data "$folder" --listen 127.0.0.1:$port --admin-listen 127.0.0.1:$((port + 1)) ${FLAGS:-} > "$out/server-$name.txt" &
  pid_of[$name]=$! port_of[$name]=$port port=$((port + 10))
  until grep -q 'ready after' "$out/server-$name.txt"; do sleep 0.1; done
  curl -sf --aws-sigv4 aws:amz:us-east-1:s3 -u stria:secretsecret -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \
    -X PUT "http://127.0.0.1:${port_of[$name]}/bench"
done
for round in $(seq "$rounds"); do
  for case in "${cases[@]}"; do
    IFS=: read -r op size count options <<< "$case"
    [ "$round" = 1 ] || [ "$op" = put ] || options="$options --no-prepare"
    for build in "$@"; do
      name=${build%%=*} command=$LOAD
      for pair in "endpoint=http://127.0.0.1:${port_of[$name]}" op=$op size=$size connections=$count seconds=$seconds \
        pid=${pid_of[$name]}; do
        command=${command//\{${pair%%=*}\}/${pair#*=}}
      done
      taskset -c 1 $command $options > "$out/$op-$size-$count-$name-$round.json" || echo "failed: $op $size $name"
    done
  done
done
