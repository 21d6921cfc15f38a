#!/usr/bin/env bash
# A job on a TPU slice that is made for it, through Cloud TPU's own API. That API is in maintenance
# and ends at v6e: on newer chips, and where a cluster is at hand, take gke_jobset_tpu.yaml.
#
#   BUCKET=gs://mine/folder ZONE=us-east5-b TYPE=v6e-16 launch/tpu_vm.sh [--dry-run] run \
#       --config configs/llama.py:2-70b --config.model.path=inputs/MODEL --config.data.dir=inputs/DATA
#   ZONE=us-east5-b launch/tpu_vm.sh [--dry-run] delete
#
# `run` makes the slice, or takes the one that is there, sends this project to all its hosts, has
# each run tpu_host.sh, and fetches $BUCKET/runs to runs/. After a preemption or a stop the same
# command goes on. A slice costs until it is deleted. A --workdir is runs/NAME.
# NAME: of the slice (default: jaxbpc). SPOT=1: a spot slice. RUNTIME: its image (default:
# v2-alpha-tpuv6e). DISK: more of it, where the model needs that, e.g. --boot-disk=size=500GB.
set -euo pipefail

dry_run=""
if [[ "${1:-}" == "--dry-run" ]]; then
  dry_run=1
  shift
fi
case "${1:-}" in
  run) needed=(BUCKET ZONE TYPE) ;;
  delete) needed=(ZONE) ;;
  *)
    echo "error: give run and the arguments of jaxbpc.main, or delete" >&2
    exit 2
    ;;
esac
for variable in "${needed[@]}"; do
  if [[ -z "${!variable:-}" ]]; then
    echo "error: $variable is not set: give it as the first lines of $0 do" >&2
    exit 2
  fi
done
if [[ "$1" == run && "$BUCKET" != gs://* ]]; then
  echo "error: BUCKET is $BUCKET: give gs://…" >&2
  exit 2
fi
verb=$1
shift
name=${NAME:-jaxbpc}
cd "$(dirname "$0")/.."

call() {
  if [[ -n "$dry_run" ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

queued() {
  call gcloud compute tpus queued-resources "$1" "$name" "--zone=$ZONE" "${@:2}"
}

state() {
  [[ -n "$dry_run" ]] || queued describe "--format=value(state.state)" 2>/dev/null || true
}

create() {
  queued create "--node-id=$name" "--accelerator-type=$TYPE" \
    "--runtime-version=${RUNTIME:-v2-alpha-tpuv6e}" ${SPOT:+--spot} ${DISK:+"$DISK"}
}

if [[ "$verb" == delete ]]; then
  queued delete --force --quiet
  exit
fi
now=$(state)
case "$now" in
  "") create ;;
  SUSPENDED | FAILED) # preempted, or never given
    queued delete --force --quiet
    create
    ;;
esac
while now=$(state) && [[ -z "$dry_run" && "$now" != ACTIVE ]]; do
  if [[ "$now" != ACCEPTED && "$now" != PROVISIONING && "$now" != WAITING_FOR_RESOURCES ]]; then
    echo "stopped: the slice is ${now:-not there}; start the same command again to go on" >&2
    exit 75
  fi
  sleep 30
done

sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT
tar -czf "$sources/jaxbpc.tgz" pyproject.toml README.md LICENSE jaxbpc configs launch/tpu_host.sh
call gcloud compute tpus tpu-vm scp "$sources/jaxbpc.tgz" "$name:" "--zone=$ZONE" --worker=all
# With a terminal on the other side the run ends where the connection does, and can start again.
status=0
call gcloud compute tpus tpu-vm ssh "$name" "--zone=$ZONE" --worker=all --ssh-flag=-tt \
  --command="mkdir -p jaxbpc && tar -xzf jaxbpc.tgz -C jaxbpc && cd jaxbpc &&
    bash launch/tpu_host.sh $(printf '%q ' "$BUCKET" "$@")" || status=$?
call mkdir -p runs
call gcloud storage rsync --recursive "$BUCKET/runs" runs
exit "$status"
