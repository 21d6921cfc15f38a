#!/usr/bin/env bash
# A job started by Open MPI: it starts the processes, JAX connects them.
#
#   launch/mpirun.sh [--dry-run] 'MPI OPTIONS' --config FILE.py[:argument] [--config.field=value …]
#
# e.g. on two hosts of 8 GPUs, a process a GPU:
#
#   launch/mpirun.sh '-np 16 --host a:8,b:8' --config configs/llama.py:2-70b
#
# Process 0 must run on the host where this is started. Paths must be the same on all hosts.
# PYTHON: the interpreter (default: python).
set -euo pipefail

dry_run=""
if [[ "${1:-}" == "--dry-run" ]]; then
  dry_run=1
  shift
fi
if (($# < 2)) || [[ "$1" == --config* ]]; then
  echo "error: give mpirun's options as one argument, then those of jaxbpc.main" >&2
  exit 2
fi
read -r -a options <<<"$1"
shift
command=("${PYTHON:-python}" -m jaxbpc.main --distributed=on "$@")
if [[ -n "$dry_run" ]]; then
  shown=$(printf '%q ' "${command[@]}")
  echo "mpirun ${options[*]} ${shown% }"
  exit
fi
exec mpirun "${options[@]}" "${command[@]}"
