#!/usr/bin/env bash
# What tpu_vm.sh has each host of a TPU slice run: the bucket, then the arguments of jaxbpc.main.
#
#   launch/tpu_host.sh [--dry-run] gs://mine/folder --config FILE.py[:argument] …
#
# Installs the project where it is not, brings the bucket's inputs/ here, and runs. The first host,
# whose process alone writes, takes the record from the bucket and brings it there every minute, so
# that no more is lost with the slice.
set -euo pipefail

call=()
if [[ "${1:-}" == "--dry-run" ]]; then
  call=(echo)
  shift
fi
if [[ "${1:-}" != gs://* ]]; then
  echo "error: give the bucket as gs://…, then the arguments of jaxbpc.main" >&2
  exit 2
fi
bucket=$1
shift
if ! .venv/bin/python -c 'import jaxbpc, flax' 2>/dev/null; then
  # The image's Python is too old.
  "${call[@]}" python3 -m pip install --quiet --user uv
  "${call[@]}" python3 -m uv venv --quiet --allow-existing --python 3.12 .venv
  "${call[@]}" python3 -m uv pip install --quiet --python .venv -e '.[tpu]'
fi
"${call[@]}" mkdir -p inputs runs
"${call[@]}" gcloud storage rsync --recursive "$bucket/inputs" inputs
run=("${call[@]}" .venv/bin/python -m jaxbpc.main --distributed=on "$@")
if [[ "$(hostname)" != *-w-0 ]]; then
  exec "${run[@]}"
fi

if gcloud storage ls "$bucket/runs" >/dev/null 2>&1; then
  gcloud storage rsync --recursive "$bucket/runs" runs
fi
"${run[@]}" &
pid=$!
until timeout 60 tail --pid="$pid" --follow /dev/null; do
  gcloud storage rsync --recursive runs "$bucket/runs" || true
done
status=0
wait "$pid" || status=$?
gcloud storage rsync --recursive runs "$bucket/runs"
exit "$status"
