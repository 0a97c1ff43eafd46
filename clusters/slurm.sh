#!/bin/bash
# A search on a SLURM cluster, on one node or several, alone or as an array of jobs (docs/slurm.md):
#
#     va-search cluster check clusters/slurm.sh
#     sbatch clusters/slurm.sh search_spaces/any.yaml --data stores/mine --study first
#
# The words after the file are those of `va-search search`. Lines marked CHANGE are for you to fit to your cluster.
#
#SBATCH --job-name=va-search
#SBATCH --time=04:00:00              # CHANGE: short jobs start sooner; this one puts itself in the queue again until the study is complete
#SBATCH --nodes=1                    # CHANGE: with more nodes more trials are trained at a time (or --array=1-8: see docs/slurm.md)
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8            # CHANGE: without GPUs one trial a core; with a GPU a few cores for each trial that shares it
#SBATCH --mem=32G                    # CHANGE: on each node
#SBATCH --gpus-per-node=1            # CHANGE: 0 for none
#SBATCH --output=va-search-%j.out    # CHANGE: its folder must exist; from --array on, %A_%a instead of %j
# ##SBATCH --account=... --partition=...   # CHANGE: where your cluster wants them (with one # less)
#
# The batch shell alone is told two minutes before the end; what was printed before is kept; the job goes on without a node
# that is lost, and begins again where that was its first (docs/slurm.md).
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --no-kill

source .venv/bin/activate                              # CHANGE: the environment that has va-search; before it `module load` if need be
set -uo pipefail   # not before it: scripts of conda and of modules read variables that nobody set
export VA_SEARCH_HOME="${VA_SEARCH_HOME:-$PWD/va-home}"   # CHANGE: on a disk that all nodes share, as the store

# This job's own folder on the disk of each node: what is copied from a bucket or compiled, the token of its Ray.
job=${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/va-$SLURM_JOB_ID
rm -rf "$job"      # of a run of this job that was killed
mkdir -m 700 "$job" || exit 1
nodes=''
clean() {
  exec 3>&-        # so the nodes end their Ray and remove their folders
  [ -z "$nodes" ] || wait "$nodes"
  rm -rf "$job"
}
trap clean EXIT
export VA_SEARCH_CACHE=$job/cache TORCHINDUCTOR_CACHE_DIR=$job/torch
began=$job/began
touch "$began"

# Where SLURM gave no GPU, none is used, even if the node has some that nothing hides.
[ -n "${SLURM_GPUS_ON_NODE:-}${SLURM_JOB_GPUS:-}" ] || export CUDA_VISIBLE_DEVICES=-1

# Signals are for the search, which stops as by Ctrl-C: every running trial writes a checkpoint.
search='' warned=''
pass_on() { [ -n "$search" ] && kill -s "$1" "$search" 2>/dev/null; }
trap 'warned=yes; pass_on USR1' USR1      # before the search runs, it is told as soon as it does
trap 'warned=""; pass_on TERM || exit 143' TERM

# Several nodes: one Ray for this job alone. It lives as long as this shell holds the pipe, through which each node gets
# the token (in no file that others read, no list of processes). `ray symmetric-run` would end the Ray of every other
# job of yours on the same node.
address=()
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  node=(python -m va_search.search.ray_backend.job_node)
  other=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | grep -vx "$SLURMD_NODENAME" | head -n 1)
  [ -n "$other" ] || { echo "scontrol does not name the job's other nodes here" >&2; exit 1; }
  head=$("${node[@]}" --choose "$other") || exit 1
  (umask 077; od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$job/token"; mkfifo "$job/pipe")
  srun --ntasks-per-node=1 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} --no-kill --wait=0 \
    --kill-on-bad-exit=0 --mpi=none --input=all "${node[@]}" "$head" "$job" < "$job/pipe" &
  nodes=$!
  exec 3> "$job/pipe"
  { cat "$job/token"; echo; } >&3
  until [ -e "$job/ready" ]; do
    if [ -e "$job/ended" ] || ! kill -0 "$nodes" 2>/dev/null; then echo "Ray did not start" >&2; exit 1; fi
    sleep 1
  done
  echo join >&3
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$job/token
  address=(--address "$head")
fi

va-search search "$@" --join "${address[@]}" 3>&- &   # with whoever searches this study already
search=$!
[ -z "$warned" ] || pass_on USR1
while kill -0 "$search" 2>/dev/null; do wait "$search"; done   # a trapped signal ends `wait`, not the search
wait "$search"
code=$?

# Did this run train anything? A study that gets nowhere is not begun for ever. (A home in a bucket has its copy in the cache.)
word() { printf '%s\n' "${@:2}" | sed -n "/^--$1\$/{n;p;};s/^--$1=//p" | tail -n 1; }
study=$(word study "$@") home=$(word home "$@")
trained=
for home in "${home:-$VA_SEARCH_HOME}" "$VA_SEARCH_CACHE"/homes/*; do
  trained+=$(find "$home/bank/$study" "$home/studies/$study/running" -newer "$began" -print -quit 2>/dev/null)
done

clean
trap - EXIT

# Told to stop before it was complete: the same job again. Not after scancel, nor when the search failed (1, 2).
if [ -n "$warned" ] && [ "$code" -ge 128 ]; then
  if [ -n "$trained" ] || [ "${SLURM_RESTART_COUNT:-0}" -lt 3 ]; then
    scontrol requeue "$SLURM_JOB_ID" && exit 0
  fi
  echo "nothing was trained in this run, after ${SLURM_RESTART_COUNT:-0} restarts: not begun again" >&2
fi
exit "$code"
