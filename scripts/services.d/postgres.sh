# shellcheck shell=bash disable=SC2034,SC2154 # Read by scripts/services, which says what each name is.
# PostgreSQL, from the Debian package. It refuses to run as root.

port=$((base + 432))
# A smart stop would wait for every client.
stop_signal=INT

programs() { find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1; }

get() { [[ -x $(programs)/postgres ]] || install_packages postgresql; }

as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }

start() {
    if [[ ! -d $home/data ]]; then
        rm -rf "$home/new" && install -d -o postgres -g postgres "$home/new" "$home/socket"
        install -m 0600 -o postgres "$state/secret" "$home/password"
        as_postgres "$(programs)/initdb" --pgdata="$home/new" --username=folio --pwfile="$home/password" \
            --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
        mv "$home/new" "$home/data"
        rm "$home/password"
    fi
    launch postgres "$(programs)/postgres" -D "$home/data" -p "$port" -k "$home/socket" \
        -c listen_addresses=127.0.0.1 -c max_connections=200
}

answers() {
    "$(programs)/pg_isready" --quiet --host=127.0.0.1 --port="$port" --timeout=2 || return 1
    [[ ! -e $home/made ]] || return 0
    PGPASSWORD=$secret "$(programs)/createdb" --host=127.0.0.1 --port="$port" --username=folio folio && touch "$home/made"
}

version() { "$(programs)/postgres" --version; }

settings() { echo "TEST_POSTGRES_URL FOLIO_DATABASE_URL postgres://folio:$secret@127.0.0.1:$port/folio"; }
