# Names, places and ports of the cloud. Sourced by every script here.

# One folder holds all that the cloud keeps. Not below a home directory: the hypervisor's user must get in.
STATE=${HOLDFAST_CLOUD_DIR:-/var/lib/holdfast-cloud}
STATE_MARK=.holdfast-cloud

# Debian's Python, whatever the caller's shell has in front of it; and no proxy between parts of one machine.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 no_proxy=127.0.0.1,localhost${no_proxy:+,$no_proxy}
export NO_PROXY=$no_proxy
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV

# All on loopback, below the ports of the private servers that other tests start.
HOST=127.0.0.1
P_KEYSTONE=11000 P_GLANCE=11001 P_PLACEMENT=11002 P_NOVA=11003 P_METADATA=11004 P_CINDER=11005 P_NEUTRON=11006
P_RABBIT=11010 P_RABBIT_DIST=11011 P_EPMD=11012 P_DATABASE=11013 P_CACHE=11014 P_MON2=11020 P_MON1=11021
KEYSTONE=http://$HOST:$P_KEYSTONE/v3

# The external network is a veth pair: one end is this machine's, the other goes into Neutron's bridge.
LINK=hfcloud0 LINK_PEER=hfcloud1
GATEWAY=198.18.204.1 SUBNET=198.18.204.0/24 POOL=start=198.18.204.10,end=198.18.204.200

# Start order of the services; they stop in the opposite one.
SERVICES="rabbitmq mariadb memcached ceph-mon ceph-mgr ceph-osd keystone glance placement virtlogd libvirtd
nova-api nova-conductor nova-scheduler cinder-api cinder-scheduler cinder-volume cinder-other neutron-server
neutron-linuxbridge neutron-dhcp neutron-l3 neutron-metadata nova-compute"

log() { printf '%s  %s\n' "$(date +%T)" "$*"; }
fail() {
    printf 'cloud: %s\n' "$*" >&2
    exit 1
}
is_done() { [ -e "$STATE/done/$1" ]; }
mark() { : >"$STATE/done/$1"; }
# once MARK COMMAND...: a step of the first start; its output goes into a log.
once() {
    local name=$1
    shift
    is_done "$name" && return 0
    "$@" >>"$STATE/log/setup-$name.log" 2>&1 || fail "$name failed; see $STATE/log/setup-$name.log"
    mark "$name"
}
