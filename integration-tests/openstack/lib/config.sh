# The configuration files of OpenStack's services.

# Sections that several files share.
identity() { # identity USER: who a service is, where another one asks
    printf 'auth_type = password\nauth_url = %s\nuser_domain_name = Default\nproject_domain_name = Default\n' "$KEYSTONE"
    printf 'project_name = service\nusername = %s\npassword = %s\nregion_name = RegionOne\n' "$1" "$S_SERVICE"
}
client_section() { # client_section SECTION USER
    echo "[$1]"
    identity "$2"
}
guarded() { # guarded USER: how a service checks its callers' tokens
    echo "[keystone_authtoken]"
    identity "$1"
    printf 'www_authenticate_uri = http://%s:%s/\nmemcached_servers = %s:%s\n' $HOST $P_KEYSTONE $HOST $P_CACHE
    printf 'service_token_roles = service\nservice_token_roles_required = true\n'
}
notifying() {
    printf '[oslo_messaging_notifications]\ndriver = messagingv2\ntopics = notifications\n'
    printf '[oslo_messaging_rabbit]\nheartbeat_in_pthread = false\n'
}
stored_in() { # stored_in DATABASE [SECTION]
    printf '[%s]\nconnection = %s\n' "${2:-database}" "$(database_url "$1")"
}
# One key for all encrypted volumes, from the config: a key manager of a cloud for tests.
keys_of() { printf '[key_manager]\nbackend = %s.keymgr.conf_key_mgr.ConfKeyManager\nfixed_key = %s\n' "$1" "$S_VOLUMES"; }
locked_in() { printf '[oslo_concurrency]\nlock_path = %s/%s/lock\n' "$STATE" "$1"; }

keystone_config() {
    cat <<C
[DEFAULT]
transport_url = $BROKER_URL
notification_format = basic
[token]
provider = fernet
[fernet_tokens]
key_repository = $STATE/keystone/fernet
[credential]
key_repository = $STATE/keystone/credential
[cache]
enabled = true
backend = dogpile.cache.memcached
memcache_servers = $HOST:$P_CACHE
C
    stored_in keystone
    notifying
}
glance_config() {
    cat <<C
[DEFAULT]
bind_host = $HOST
bind_port = $P_GLANCE
workers = 1
transport_url = $BROKER_URL
enabled_backends = file:file
[glance_store]
default_backend = file
[file]
filesystem_store_datadir = $STATE/glance/images
[os_glance_staging_store]
filesystem_store_datadir = $STATE/glance/staging
[os_glance_tasks_store]
filesystem_store_datadir = $STATE/glance/tasks
[paste_deploy]
flavor = keystone
config_file = /etc/glance/glance-api-paste.ini
C
    stored_in glance
    locked_in glance
    guarded glance
    notifying
}
placement_config() {
    printf '[api]\nauth_strategy = keystone\n'
    stored_in placement placement_database
    guarded placement
}
nova_config() { # without its databases: nova-compute refuses to start when it could see them
    cat <<C
[DEFAULT]
my_ip = $HOST
transport_url = $BROKER_URL
state_path = $STATE/nova
instances_path = $STATE/nova/instances
enabled_apis = osapi_compute,metadata
osapi_compute_listen = $HOST
osapi_compute_listen_port = $P_NOVA
osapi_compute_workers = 1
metadata_listen = $HOST
metadata_listen_port = $P_METADATA
metadata_workers = 1
compute_driver = libvirt.LibvirtDriver
cpu_allocation_ratio = 16.0
ram_allocation_ratio = 1.5
disk_allocation_ratio = 4.0
allow_resize_to_same_host = true
reserved_host_memory_mb = 512
resume_guests_state_on_host_boot = true
# Volumes are made and networks plugged slowly on a busy machine.
block_device_allocate_retries = 120
vif_plugging_timeout = 300
[conductor]
workers = 1
[scheduler]
workers = 1
[wsgi]
api_paste_config = /etc/nova/api-paste.ini
[notifications]
notification_format = both
notify_on_state_change = vm_and_task_state
bdms_in_notifications = true
[glance]
api_servers = http://$HOST:$P_GLANCE
[cinder]
catalog_info = volumev3::internalURL
os_region_name = RegionOne
[vnc]
enabled = false
[libvirt]
# Software emulation, here and everywhere: what the tests need is the same on every machine.
virt_type = qemu
cpu_mode = none
images_type = qcow2
inject_partition = -2
rbd_user = cinder
rbd_secret_uuid = $RBD_SECRET
C
    locked_in nova
    keys_of nova
    client_section placement placement
    client_section service_user nova
    echo "send_service_user_token = true"
    client_section neutron neutron
    printf 'service_metadata_proxy = true\nmetadata_proxy_shared_secret = %s\n' "$S_METADATA"
    guarded nova
    notifying
}
cinder_config() {
    cat <<C
[DEFAULT]
my_ip = $HOST
transport_url = $BROKER_URL
state_path = $STATE/cinder
api_paste_config = /etc/cinder/api-paste.ini
resource_query_filters_file = /etc/cinder/resource_filters.json
rootwrap_config = /etc/cinder/rootwrap.conf
auth_strategy = keystone
osapi_volume_listen = $HOST
osapi_volume_listen_port = $P_CINDER
osapi_volume_workers = 1
glance_api_servers = http://$HOST:$P_GLANCE
enabled_backends = rbd
default_volume_type = rbd
[rbd]
volume_driver = cinder.volume.drivers.rbd.RBDDriver
volume_backend_name = rbd
rbd_pool = volumes
rbd_user = cinder
rbd_ceph_conf = /etc/ceph/ceph.conf
rbd_secret_uuid = $RBD_SECRET
rbd_flatten_volume_from_snapshot = false
report_discard_supported = true
C
    stored_in cinder
    locked_in cinder
    keys_of cinder
    client_section nova nova
    client_section service_user cinder
    echo "send_service_user_token = true"
    guarded cinder
    notifying
}
# A second backend in a process of its own, beside the first: storage that is reached by an attachment only.
cinder_other_config() {
    cat <<C
[DEFAULT]
enabled_backends = other
[other]
volume_driver = loop_volumes.LoopVolumes
volume_backend_name = other
loop_volumes_dir = $STATE/cinder/loop-volumes
C
}
neutron_config() {
    cat <<C
[DEFAULT]
transport_url = $BROKER_URL
state_path = $STATE/neutron
bind_host = $HOST
bind_port = $P_NEUTRON
core_plugin = ml2
service_plugins = router
api_workers = 1
rpc_workers = 1
api_paste_config = /etc/neutron/api-paste.ini
notify_nova_on_port_status_changes = true
notify_nova_on_port_data_changes = true
[experimental]
linuxbridge = true
[agent]
root_helper = sudo
C
    stored_in neutron
    locked_in neutron
    client_section nova nova
    client_section placement placement
    guarded neutron
    notifying
}
neutron_part() { # neutron_part ml2|linuxbridge|dhcp|l3|metadata
    case $1 in
        ml2) cat <<C ;;
[ml2]
type_drivers = flat,vxlan
tenant_network_types = vxlan
mechanism_drivers = linuxbridge,l2population
extension_drivers = port_security
[ml2_type_flat]
flat_networks = external
[ml2_type_vxlan]
vni_ranges = 1:1000
[securitygroup]
enable_ipset = true
C
        linuxbridge) cat <<C ;;
[linux_bridge]
# An interface, not a bridge of ours: Nova plugs its guests into the agent's own bridge, and the two would never meet.
physical_interface_mappings = external:$LINK_PEER
[vxlan]
enable_vxlan = true
local_ip = $GATEWAY
l2_population = true
[securitygroup]
enable_security_group = true
enable_ipset = true
firewall_driver = iptables
C
        dhcp) printf '[DEFAULT]\ninterface_driver = linuxbridge\nenable_isolated_metadata = true\nforce_metadata = true\n' ;;
        l3) printf '[DEFAULT]\ninterface_driver = linuxbridge\n' ;;
        metadata) cat <<C ;;
[DEFAULT]
nova_metadata_host = $HOST
nova_metadata_port = $P_METADATA
metadata_proxy_shared_secret = $S_METADATA
metadata_workers = 1
[cache]
enabled = false
C
    esac
}

write_configs() {
    local dir=$STATE/etc part
    (
        umask 077
        for part in keystone glance placement cinder neutron; do "${part}_config" >"$dir/$part.conf"; done
        cinder_other_config >"$dir/cinder-other.conf"
        install -D -m 0644 "$HERE/lib/loop_volumes.py" "$dir/python/loop_volumes.py"
        nova_config >"$dir/nova-compute.conf"
        { nova_config; stored_in nova; stored_in nova_api api_database; } >"$dir/nova.conf"
        for part in ml2 linuxbridge dhcp l3 metadata; do neutron_part $part >"$dir/$part.ini"; done
        write_credentials
    )
}

# The administrator's, for shells and for the tests.
admin_environment() {
    cat <<C
OS_AUTH_URL=$KEYSTONE
OS_IDENTITY_API_VERSION=3
OS_USERNAME=admin
OS_PASSWORD=$S_ADMIN
OS_PROJECT_NAME=admin
OS_USER_DOMAIN_NAME=Default
OS_PROJECT_DOMAIN_NAME=Default
OS_REGION_NAME=RegionOne
OS_VOLUME_API_VERSION=3
OS_COMPUTE_API_VERSION=2.92
C
}
write_credentials() {
    admin_environment | sed 's/^/export /' >"$STATE/openrc"
    {
        cat <<C
openstack = "/usr/bin/openstack"
instances_dir = "$STATE/nova/instances"
image = "guest"
flavor = "small"
flavor_diskless = "diskless"
volume_type_other = "other"
network = "external"

[ceph]
conf = "/etc/ceph/ceph.conf"
user = "cinder"
pool = "volumes"

[database]
socket = "$STATE/run/mariadb/socket"
port = $P_DATABASE

[broker]
environment = "$STATE/etc/rabbitmq.env"
address = "$HOST:$P_RABBIT"

[admin]
C
        admin_environment | sed 's/=\(.*\)/ = "\1"/'
    } >"$STATE/cloud.toml"
}
