#!/usr/bin/env bash
# A PostgreSQL server of one's own, on loopback: `postgres.sh start FOLDER PORT`, `... stop FOLDER`.
# Debian's package is installed where there is none and the user may; exit code 3: there is none.
# The server's user and its base are both called `sweeps`; it asks for no password.
set -euo pipefail
action=$1 folder=$(realpath -m "$2")

server() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }
install_server() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq --no-install-recommends postgresql-common
  # No cluster of the package's own: this script makes the only one.
  echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf
  apt-get install -qq --no-install-recommends postgresql
}
# The server refuses to run as root: it is the package's user's then.
as_owner() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

bin=$(server || true)
if [ -z "$bin" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  install_server >&2 || true
  bin=$(server || true)
fi
if [ -z "$bin" ]; then
  echo "no PostgreSQL server here, and none can be installed: apt-get install postgresql" >&2
  exit 3
fi
cd /
case $action in
  start)
    mkdir -p "$folder"
    chmod 755 "$folder"
    [ "$(id -u)" != 0 ] || chown postgres "$folder"
    as_owner "$bin/initdb" -D "$folder/data" -U sweeps -A trust -E UTF8 --locale=C >/dev/null
    options="-c listen_addresses=127.0.0.1 -c port=$3 -c unix_socket_directories=$folder"
    as_owner "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w -o "$options" start >/dev/null
    as_owner "$bin/createdb" -h 127.0.0.1 -p "$3" -U sweeps sweeps
    ;;
  stop) as_owner "$bin/pg_ctl" -D "$folder/data" -m fast stop >/dev/null ;;
  *)
    echo "start or stop, not $action" >&2
    exit 2
    ;;
esac
