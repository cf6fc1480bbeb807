# shellcheck shell=bash disable=SC2034,SC2154 # Read by scripts/services, which says what each name is.
# Redis, from the Debian package.

port=$((base + 379))

get() { has redis-server || install_packages redis-server; }

start() {
    install -d -o redis -g redis "$home/data"
    # In a file, since a command line is shown to everybody.
    install -m 0600 -o redis /dev/stdin "$home/redis.conf" <<TEXT
bind 127.0.0.1
port $port
dir $home/data
save ""
requirepass $secret
TEXT
    launch redis redis-server "$home/redis.conf"
}

answers() { [[ $(REDISCLI_AUTH=$secret timeout 2 redis-cli -p "$port" ping 2>/dev/null) == PONG ]]; }

version() { redis-server --version | cut -d' ' -f1-3; }

settings() { echo "TEST_REDIS_URL FOLIO_REDIS_URL redis://:$secret@127.0.0.1:$port/0"; }
