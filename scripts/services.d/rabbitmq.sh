# shellcheck shell=bash disable=SC2034,SC2154 # Read by scripts/services, which says what each name is.
# RabbitMQ, from the Debian package, with its HTTP interface on the next port: tests make virtual hosts there.

port=$((base + 672))
# Its distribution and the directory of Erlang nodes, which would otherwise stay behind.
distribution_port=$((base + 674)) epmd_port=$((base + 675))

get() { [[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] || install_packages rabbitmq-server; }

start() {
    install -d -m 0700 -o rabbitmq -g rabbitmq "$home/erlang" "$home/data" "$home/logs"
    echo '[rabbitmq_management].' >"$home/plugins"
    install -m 0600 -o rabbitmq /dev/stdin "$home/rabbitmq.conf" <<TEXT
default_user = folio
default_pass = $secret
management.tcp.ip = 127.0.0.1
management.tcp.port = $((port + 1))
TEXT
    launch rabbitmq epmd -address 127.0.0.1 -port "$epmd_port"
    wait_until 5 listens "$epmd_port"
    launch rabbitmq env \
        HOME="$home/erlang" ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
        RABBITMQ_NODENAME=folio@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$port" \
        RABBITMQ_DIST_PORT="$distribution_port" RABBITMQ_MNESIA_BASE="$home/data" RABBITMQ_LOG_BASE="$home/logs" \
        RABBITMQ_CONFIG_FILE="$home/rabbitmq.conf" RABBITMQ_ENABLED_PLUGINS_FILE="$home/plugins" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
        /usr/lib/rabbitmq/bin/rabbitmq-server
}

# The header of AMQP 0-9-1 is answered by a method frame, which begins with a one.
greets() {
    local answer
    exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'AMQP\0\0\11\1' >&3 && read -r -N 1 -t 2 answer <&3 && [[ $answer == $'\1' ]]
}

answers() { (greets) 2>/dev/null && listens "$((port + 1))"; }

version() { dpkg-query --show --showformat='RabbitMQ ${Version}' rabbitmq-server; }

settings() {
    echo "TEST_AMQP_URL FOLIO_AMQP_URL amqp://folio:$secret@127.0.0.1:$port/%2f"
    echo "TEST_AMQP_API_URL - http://folio:$secret@127.0.0.1:$((port + 1))"
}
