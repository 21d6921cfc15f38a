#!/usr/bin/env bash
# Several processes of one job on this machine.
#
#   launch/local.sh [--dry-run] N --config FILE.py[:argument] [--config.field=value …]
#
# On a CPU each process has one device; on GPUs give each its own by CUDA_VISIBLE_DEVICES in a
# script of yours, or start one process: it uses all GPUs of a machine. Where one process fails the
# others end too. Stopped by Ctrl-C, or where one was killed (status 75), the same command goes on.
# PYTHON: the interpreter (default: python). PORT: of process 0 (default: a free one).
set -euo pipefail

dry_run=""
if [[ "${1:-}" == "--dry-run" ]]; then
  dry_run=1
  shift
fi
if [[ ! "${1:-}" =~ ^[1-9][0-9]*$ ]]; then
  echo "error: give the number of processes, then the arguments of jaxbpc.main" >&2
  exit 2
fi
n=$1
shift
python=${PYTHON:-python}
port=${PORT:-$("$python" -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])')}

pids=()
for ((i = 0; i < n; i++)); do
  command=("$python" -m jaxbpc.main "$@" "--coordinator_address=localhost:$port"
    "--num_processes=$n" "--process_id=$i")
  if [[ -n "$dry_run" ]]; then
    shown=$(printf '%q ' "${command[@]}")
    echo "${shown% }"
    continue
  fi
  "${command[@]}" &
  pids+=($!)
done

# Of several processes' statuses the one that says most: a fault, then 75 of those that lost one,
# then that of the one that was killed.
weight() {
  case "$1" in
    0) echo 0 ;;
    75) echo 2 ;;
    *) echo $(($1 < 128 ? 3 : 1)) ;;
  esac
}

trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' INT TERM
status=0
for pid in "${pids[@]}"; do
  code=0
  wait "$pid" || code=$?
  # A trapped signal ends `wait` early: wait again for how the process ended.
  while kill -0 "$pid" 2>/dev/null; do
    code=0
    wait "$pid" || code=$?
  done
  if (($(weight "$code") > $(weight "$status"))); then
    status=$code
  fi
done
exit "$status"
