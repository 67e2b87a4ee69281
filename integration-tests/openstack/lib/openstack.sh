# OpenStack itself: databases, catalogue, services, and what users find in a cloud.

# admin ARGUMENT...: the administrator's client; without arguments it reads commands.
admin() { (set -a && . "$STATE/openrc" && exec /usr/bin/openstack "$@"); }

make_databases() {
    local dir=$STATE/etc
    local keystone="keystone-manage --config-file $dir/keystone.conf" nova="nova-manage --config-file $dir/nova.conf"
    local as="--keystone-user root --keystone-group root" lane
    mkdir -p "$STATE"/keystone/{fernet,credential}
    # In two lanes: each step keeps one core busy.
    # shellcheck disable=SC2086 # words
    {
        once keystone-database $keystone db_sync
        once keystone-fernet $keystone fernet_setup $as
        once keystone-credential $keystone credential_setup $as
        # In the environment: what stands in arguments is seen by everybody.
        OS_BOOTSTRAP_PASSWORD=$S_ADMIN once keystone-bootstrap $keystone bootstrap --bootstrap-region-id RegionOne \
            --bootstrap-admin-url $KEYSTONE --bootstrap-public-url $KEYSTONE --bootstrap-internal-url $KEYSTONE
        once glance-database glance-manage --config-file "$dir/glance.conf" db_sync
        once placement-database placement-manage --config-file "$dir/placement.conf" db sync
        once cinder-database cinder-manage --config-file "$dir/cinder.conf" db sync
    } &
    lane=$!
    # shellcheck disable=SC2086
    {
        once nova-api-database $nova api_db sync
        once nova-cell0 $nova cell_v2 map_cell0 # beside the database of the config, with `_cell0` behind its name
        once nova-database $nova db sync
        once nova-cell1 $nova cell_v2 create_cell --name cell1
    }
    once neutron-database neutron-db-manage --config-file "$dir/neutron.conf" --config-file "$dir/ml2.ini" upgrade heads
    wait $lane || fail "a database was not made; see $STATE/log"
}

start_wsgi() { # start_wsgi NAME PORT PROGRAM VARIABLE=VALUE: an API that needs a web server around it
    cat >"$STATE/etc/uwsgi-$1.ini" <<C
[uwsgi]
plugins = python3
http-socket = $HOST:$2
wsgi-file = $3
master = true
processes = 1
threads = 6
enable-threads = true
lazy-apps = true
need-app = true
die-on-term = true
buffer-size = 65535
http-raw-body = true
wsgi-manage-chunked-input = true
disable-logging = true
# It closes after each answer; without these words clients would use the connection again and see a reset.
add-header = Connection: close
C
    start "$1" env "$4" uwsgi --ini "$STATE/etc/uwsgi-$1.ini"
    await 120 "$1" answers "$2"
}

start_keystone() {
    start_wsgi keystone $P_KEYSTONE /usr/bin/keystone-wsgi-public OS_KEYSTONE_CONFIG_FILES="$STATE/etc/keystone.conf"
    once catalogue fill_catalogue
}
fill_catalogue() { # one client that reads commands is much quicker than one for each
    local name type url interface services endpoints
    services=$(admin service list -f value -c Name) || return 1
    endpoints=$(admin endpoint list -f value -c 'Service Type' -c Interface) || return 1
    {
        echo "project create service --domain default --or-show"
        echo "role create service --or-show"
        while read -r name type url; do
            echo "user create $name --domain default --password $S_SERVICE --or-show"
            echo "role add --project service --user $name admin"
            echo "role add --project service --user $name service"
            [ "$type" != - ] || continue
            grep -qx "$name" <<<"$services" || echo "service create --name $name $type"
            for interface in public internal admin; do
                grep -qx "$type $interface" <<<"$endpoints" || echo "endpoint create --region RegionOne $type $interface $url"
            done
        done <<L
glance image http://$HOST:$P_GLANCE
placement placement http://$HOST:$P_PLACEMENT
nova compute http://$HOST:$P_NOVA/v2.1
cinderv3 volumev3 http://$HOST:$P_CINDER/v3/%(project_id)s
cinder - -
neutron network http://$HOST:$P_NEUTRON
L
    } | admin
    [ "$(admin endpoint list -f value -c ID | wc -l)" -ge 18 ]
}

LIBVIRT_MARK='holdfast-cloud'
start_libvirt() {
    local secret=$STATE/run/ceph-key
    if ! pid_of libvirtd >/dev/null && virsh -q -c qemu:///system uri >/dev/null 2>&1; then
        fail "a libvirtd of this machine's own is running; this cloud needs its place: stop it first"
    fi
    # No systemd and no security module is taken for granted.
    grep -q "$LIBVIRT_MARK begin" /etc/libvirt/qemu.conf || cat >>/etc/libvirt/qemu.conf <<C
# $LIBVIRT_MARK begin
cgroup_controllers = [ ]
namespaces = [ ]
security_driver = "none"
# $LIBVIRT_MARK end
C
    printf 'unix_sock_group = "libvirt"\nunix_sock_rw_perms = "0770"\nauth_unix_ro = "none"\nauth_unix_rw = "none"\n' \
        >"$STATE/etc/libvirtd.conf"
    mkdir -p /run/libvirt
    start virtlogd virtlogd
    # As udev does. Where qemu's user may not open what root may, libvirt believes no answer of qemu's for longer than one question:
    # it asks anew for each, and a server takes 70 s to start.
    [ ! -c /dev/kvm ] || chgrp kvm /dev/kvm || log "/dev/kvm stays as it is"
    start libvirtd libvirtd -f "$STATE/etc/libvirtd.conf"
    await 120 libvirtd virsh -q -c qemu:///system version
    if ! virsh -q -c qemu:///system secret-list | grep "$RBD_SECRET" >/dev/null; then
        virsh -q -c qemu:///system secret-define /dev/stdin >/dev/null <<X
<secret ephemeral='no' private='no'><uuid>$RBD_SECRET</uuid><usage type='ceph'><name>cinder of $LIBVIRT_MARK</name></usage></secret>
X
    fi
    # The key as it is, in base64: libvirt encodes for qemu what it was told is plain.
    (umask 077 && ceph-authtool -p -n client.cinder "$STATE/ceph/client.cinder.keyring" | tr -d '\n' >"$secret")
    virsh -q -c qemu:///system secret-set-value "$RBD_SECRET" --file "$secret" >/dev/null
    rm -f "$secret"
}

start_link() {
    mark link
    [ -d /sys/class/net/$LINK ] || ip link add $LINK type veth peer name $LINK_PEER
    ip addr replace "$GATEWAY/24" dev $LINK
    ip link set $LINK up
    ip link set $LINK_PEER up
    mkdir -p /run/netns
}

state_of() { # state_of SERVICE NOUN: whether OpenStack says that its part of that name is up
    admin "$2" service list --service "$1" -f value -c State | grep -x up >/dev/null
}
backend_is_up() { # backend_is_up NAME: of Cinder
    admin volume service list --service cinder-volume -f value -c Host -c State | grep "@$1 up\$" >/dev/null
}
# A service counts as up some seconds before its host can take instances: the scheduler also wants a compute node to map to
# a cell, and what it has to offer in Placement.
host_is_mapped() {
    is_done nova-hosts && return 0
    nova-manage --config-file "$STATE/etc/nova.conf" cell_v2 discover_hosts >>"$STATE/log/setup-nova-hosts.log" 2>&1
    [ "$(in_database <<<'SELECT count(*) > 0 FROM nova_api.host_mappings')" = 1 ] || return 1
    [ "$(in_database <<<'SELECT count(*) >= 3 FROM placement.inventories')" = 1 ] && mark nova-hosts
}
agents_alive() { admin network agent list -f json | jq -e 'any(.[]; .Binary == "neutron-linuxbridge-agent" and .Alive)'; }

start_openstack() {
    local dir=$STATE/etc part
    start glance glance-api --config-file "$dir/glance.conf"
    start neutron-server neutron-server --config-file "$dir/neutron.conf" --config-file "$dir/ml2.ini"
    for part in nova-api nova-conductor nova-scheduler; do start $part $part --config-file "$dir/nova.conf"; done
    for part in cinder-api cinder-scheduler cinder-volume; do start $part $part --config-file "$dir/cinder.conf"; done
    start cinder-other env PYTHONPATH="$dir/python" cinder-volume --config-file "$dir/cinder.conf" \
        --config-file "$dir/cinder-other.conf"
    start_wsgi placement $P_PLACEMENT /usr/bin/placement-api OS_PLACEMENT_CONFIG_DIR="$dir"
    await 180 nova-api answers $P_NOVA
    await 180 neutron-server answers $P_NEUTRON
    start nova-compute nova-compute --config-file "$dir/nova-compute.conf"
    for part in linuxbridge dhcp l3 metadata; do
        start neutron-$part neutron-$part-agent --config-file "$dir/neutron.conf" --config-file "$dir/$part.ini"
    done
    await 180 glance answers $P_GLANCE
    await 180 cinder-api answers $P_CINDER
    await 240 nova-compute state_of nova-compute compute
    await 240 cinder-volume backend_is_up rbd
    await 240 cinder-other backend_is_up other
    await 240 neutron-linuxbridge agents_alive
    await 240 nova-compute host_is_mapped
}

# Each filling has its mark: a cloud that was made before there was the second gets it at its next start.
seed() {
    once seeded fill_cloud
    once seeded-other fill_other
}
fill_other() { admin volume type show other || admin volume type create other --property volume_backend_name=other --public; }
fill_cloud() {
    local have
    [ -s "$STATE/guest.qcow2" ] || "$HERE/guest/build" "$STATE/guest.qcow2" || return 1
    have=$(
        admin volume type list -f value -c Name | sed 's/^/type /'
        admin flavor list -f value -c Name | sed 's/^/flavor /'
        admin image list -f value -c Name | sed 's/^/image /'
        admin network list -f value -c Name | sed 's/^/network /'
        admin subnet list -f value -c Name | sed 's/^/subnet /'
    )
    while read -r what command; do
        grep -qx "${what/:/ }" <<<"$have" || echo "$command"
    done <<L | admin
type:rbd volume type create rbd --property volume_backend_name=rbd --public
flavor:small flavor create small --vcpus 1 --ram 256 --disk 1
flavor:diskless flavor create diskless --vcpus 1 --ram 256 --disk 0
image:guest image create guest --public --disk-format qcow2 --container-format bare --file $STATE/guest.qcow2 --property hw_qemu_guest_agent=yes --property os_type=linux --min-disk 1 --min-ram 192
network:external network create external --external --share --provider-network-type flat --provider-physical-network external
subnet:external subnet create external --network external --subnet-range $SUBNET --gateway $GATEWAY --allocation-pool $POOL
L
    [ "$(admin image show guest -f value -c status)" = active ] && admin subnet show external && admin flavor show diskless &&
        admin volume type show rbd
}
