#!/usr/bin/env bash
# The head's MLflow server: SQLite, on 127.0.0.1:5000 only, reached by port forwarding. Safe to run twice.
#
#   mlflow_server.sh start    starts it unless it runs; a loop starts it again when it dies
#   mlflow_server.sh stop     stops it, loop and all
#
# Everything lies in ~/mlflow (or MLFLOW_FOLDER): mlflow.db, artifacts/, server.log, pid. MLFLOW_PORT: another port.
set -eu
folder="${MLFLOW_FOLDER:-$HOME/mlflow}"
port="${MLFLOW_PORT:-5000}"
mkdir -p "$folder"
cd "$folder"
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false  # a search needs no job runner and its processes
export MLFLOW_DISABLE_TELEMETRY=true

case "${1:-}" in
start)
    # The loop holds the lock for as long as it lives: a second start finds it taken and leaves.
    # setsid: it outlives the SSH session of `ray up`, and `stop` can end the whole group by the loop's id.
    # shellcheck disable=SC2016
    setsid flock --nonblock --no-fork --conflict-exit-code 0 lock bash -c '
        echo $$ > pid
        while true; do
            mlflow server --host 127.0.0.1 --port "$0" --workers 2 \
                --backend-store-uri "sqlite:///$PWD/mlflow.db" --artifacts-destination "$PWD/artifacts" || true
            sleep 5
        done
    ' "$port" >> server.log 2>&1 < /dev/null &
    ;;
stop)
    if [ -s pid ]; then
        group="$(cat pid)"
        kill -- "-$group" 2> /dev/null || true
        for _ in $(seq 100); do
            kill -0 -- "-$group" 2> /dev/null || break
            sleep 0.2
        done
        kill -9 -- "-$group" 2> /dev/null || true
        rm -f pid
    fi
    ;;
*)
    echo "usage: mlflow_server.sh start|stop" >&2
    exit 2
    ;;
esac
