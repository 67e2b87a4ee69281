# What OpenStack stands on: secrets, RabbitMQ, MariaDB, memcached, Ceph.

# secret NAME COMMAND...: in $file, unless it is there from an earlier start
secret() {
    local name=$1 value
    shift
    grep -q "^$name=" "$file" || { value=$("$@") && echo "$name=$value" >>"$file"; }
}
make_secrets() {
    local name file=$STATE/etc/secrets
    (
        umask 077
        touch "$file"
        for name in S_ADMIN S_SERVICE S_DATABASE S_RABBIT S_METADATA; do secret $name openssl rand -hex 16; done
        for name in RBD_SECRET CEPH_FSID; do secret $name cat /proc/sys/kernel/random/uuid; done
        secret S_VOLUMES openssl rand -hex 32
    )
    # shellcheck source=/dev/null
    . "$file"
    BROKER_URL=rabbit://openstack:$S_RABBIT@$HOST:$P_RABBIT/
}
database_url() { echo "mysql+pymysql://openstack:$S_DATABASE@$HOST:$P_DATABASE/$1?charset=utf8"; }

start_rabbitmq() {
    local dir=$STATE/rabbitmq env=$STATE/etc/rabbitmq.env
    cat >"$STATE/etc/rabbitmq.conf" <<C
listeners.tcp.1 = $HOST:$P_RABBIT
default_user = openstack
default_pass = $S_RABBIT
default_user_tags.administrator = true
loopback_users = none
disk_free_limit.absolute = 200MB
log.console = true
log.console.level = warning
log.file = false
C
    echo '[].' >"$STATE/etc/rabbitmq.plugins"
    # A name mapper of its own, so that it meets no other Erlang node of the machine.
    cat >"$env" <<C
export HOME=$dir RABBITMQ_NODENAME=holdfast-cloud@localhost RABBITMQ_CONF_ENV_FILE=/dev/null
export RABBITMQ_CONFIG_FILE=$STATE/etc/rabbitmq.conf RABBITMQ_ENABLED_PLUGINS_FILE=$STATE/etc/rabbitmq.plugins
export RABBITMQ_MNESIA_BASE=$dir/data RABBITMQ_LOG_BASE=$dir/log RABBITMQ_DIST_PORT=$P_RABBIT_DIST
export ERL_EPMD_PORT=$P_EPMD ERL_EPMD_ADDRESS=$HOST
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
C
    chgrp rabbitmq "$STATE/etc/rabbitmq.conf" && chmod 640 "$STATE/etc/rabbitmq.conf"
    chown -R rabbitmq:rabbitmq "$dir"
    start rabbitmq setpriv --reuid rabbitmq --regid rabbitmq --init-groups \
        sh -c ". '$env'; cd '$dir'; exec /usr/lib/rabbitmq/bin/rabbitmq-server"
}

start_mariadb() {
    local dir=$STATE/mariadb socket=$STATE/run/mariadb/socket name sql=
    mkdir -p "$dir" "$STATE/run/mariadb"
    chown mysql:mysql "$dir" "$STATE/run/mariadb"
    once mariadb-files mariadb-install-db --no-defaults --user=mysql --datadir="$dir" \
        --auth-root-authentication-method=socket --skip-test-db
    start mariadb mariadbd --no-defaults --user=mysql --datadir="$dir" --socket="$socket" --port=$P_DATABASE \
        --pid-file="$STATE/run/mariadb/pid" --bind-address=$HOST --skip-name-resolve --max-connections=600 \
        --character-set-server=utf8 --innodb-buffer-pool-size=256M --innodb-flush-log-at-trx-commit=0 --skip-log-bin
    await 90 mariadb mariadb-admin --no-defaults --socket="$socket" ping
    for name in keystone glance placement nova nova_api nova_cell0 cinder neutron; do
        sql+="CREATE DATABASE IF NOT EXISTS $name CHARACTER SET utf8;
              GRANT ALL ON $name.* TO 'openstack'@'$HOST' IDENTIFIED BY '$S_DATABASE';"
    done
    once databases in_database <<<"$sql"
}

# in_database <<<STATEMENTS: not in arguments, which everybody sees
in_database() { mariadb --no-defaults --socket="$STATE/run/mariadb/socket" -N; }

start_memcached() {
    start memcached memcached -u memcache -l $HOST -p $P_CACHE -m 64 -c 512
    await 20 memcached listens $P_CACHE
}

in_ceph() { ceph -c "$STATE/ceph/ceph.conf" -k "$STATE/ceph/admin.keyring" --connect-timeout 5 "$@"; }

write_ceph_config() {
    local dir=$STATE/ceph part
    mkdir -p "$dir" /etc/ceph
    {
        cat <<C
[global]
fsid = $CEPH_FSID
mon_initial_members = a
mon_host = [v2:$HOST:$P_MON2/0,v1:$HOST:$P_MON1/0]
public_network = $HOST/32
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 16
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_data_avail_warn = 3
mon_data_avail_crit = 1
crush_location = host=cloud root=default
C
        for part in mon mgr osd; do
            printf '[%s]\n%s_data = %s/%s-$id\nadmin_socket = %s/run/$cluster-$name.asok\nlog_file = %s/log/$name.ceph.log\n' \
                $part $part "$dir" $part "$STATE" "$STATE"
        done
        # The "disk" is a sparse file, which --mkfs makes.
        printf 'osd_objectstore = bluestore\nbluestore_block_size = 32212254720\nbluestore_block_create = true\n'
        printf 'osd_memory_target = 939524096\nosd_op_num_shards = 2\n'
    } >"$dir/ceph.conf"
}
make_monitor() {
    local dir=$STATE/ceph
    rm -rf "$dir/mon-a"
    mkdir -p "$dir/mon-a" "$dir/mgr-x"
    ceph-authtool --create-keyring "$dir/mon.keyring" --gen-key -n mon. --cap mon 'allow *' &&
        ceph-authtool --create-keyring "$dir/admin.keyring" --gen-key -n client.admin \
            --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' &&
        ceph-authtool "$dir/mon.keyring" --import-keyring "$dir/admin.keyring" &&
        monmaptool --create --clobber --fsid "$CEPH_FSID" --addv a "[v2:$HOST:$P_MON2,v1:$HOST:$P_MON1]" "$dir/monmap" &&
        ceph-mon -c "$dir/ceph.conf" --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/mon.keyring"
}
make_osd() {
    local dir=$STATE/ceph/osd-0 id
    rm -rf "$dir"
    mkdir -p "$dir"
    id=$(cat /proc/sys/kernel/random/uuid)
    ceph-authtool --create-keyring "$dir/keyring" --gen-key -n osd.0 &&
        printf '{"cephx_secret": "%s"}' "$(ceph-authtool -p -n osd.0 "$dir/keyring")" | in_ceph osd new "$id" 0 -i - &&
        ceph-osd -c "$STATE/ceph/ceph.conf" -i 0 --mkfs --osd-uuid "$id"
}
make_pools() {
    local pool
    for pool in volumes vms; do
        in_ceph osd pool create $pool 16 && in_ceph osd pool application enable $pool rbd || return 1
    done
    in_ceph auth get-or-create client.cinder mon 'profile rbd' osd 'profile rbd pool=volumes, profile rbd pool=vms' \
        mgr 'profile rbd pool=volumes, profile rbd pool=vms' -o "$STATE/ceph/client.cinder.keyring"
}
osd_is_up() { in_ceph osd stat | grep -q '1 up'; }

start_ceph() {
    local dir=$STATE/ceph name
    write_ceph_config
    # librbd looks there, in Cinder, in qemu and in ours.
    for name in ceph.conf:ceph.conf client.cinder.keyring:ceph.client.cinder.keyring; do
        [ ! -e "/etc/ceph/${name#*:}" ] || [ -L "/etc/ceph/${name#*:}" ] || fail "/etc/ceph/${name#*:} is of another cluster"
        ln -sfn "$dir/${name%:*}" "/etc/ceph/${name#*:}"
    done
    once ceph-mon make_monitor
    start ceph-mon ceph-mon -c "$dir/ceph.conf" -f -i a
    await 60 ceph-mon in_ceph mon stat
    [ -s "$dir/mgr-x/keyring" ] ||
        in_ceph auth get-or-create mgr.x mon 'allow profile mgr' osd 'allow *' -o "$dir/mgr-x/keyring"
    start ceph-mgr ceph-mgr -c "$dir/ceph.conf" -f -i x
    once ceph-osd make_osd
    start ceph-osd ceph-osd -c "$dir/ceph.conf" -f -i 0
    await 90 ceph-osd osd_is_up
    once ceph-pools make_pools
    chmod 600 "$dir/client.cinder.keyring"
}
