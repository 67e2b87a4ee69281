# Debian packages, and two faults of theirs that are mended in place.

# The hypervisor package without the other architectures' emulators, each of which libvirt would try out at its start.
PACKAGES="rabbitmq-server mariadb-server memcached keystone glance-api placement-api nova-api nova-conductor
nova-scheduler nova-compute nova-compute-kvm cinder-api cinder-scheduler cinder-volume neutron-server
neutron-linuxbridge-agent neutron-dhcp-agent neutron-l3-agent neutron-metadata-agent python3-openstackclient
python3-pymysql uwsgi-core uwsgi-plugin-python3 libvirt-daemon-system libvirt-clients
libvirt-daemon-driver-storage-rbd qemu-system-x86 qemu-utils qemu-block-extra genisoimage ceph-mon ceph-mgr ceph-osd
ceph-common python3-rbd iptables ebtables ipset conntrack iputils-arping bridge-utils extlinux syslinux-common kmod
cpio fdisk e2fsprogs curl jq openssl sudo iproute2"

version_of() { dpkg-query -W -f '${Version}' "$1" 2>/dev/null; }
# missing_packages: those of the list that are not installed; one question for all, for it is asked at each start.
missing_packages() {
    local there
    # shellcheck disable=SC2086 # a list of words
    there=$(dpkg-query -W -f '${Package} ${Status}\n' $PACKAGES 2>/dev/null | sed -n 's/ install ok installed$//p')
    tr ' ' '\n' <<<"$PACKAGES" | grep -vxF -e "$there" | tr '\n' ' ' || true
}

install_packages() {
    local package missing wanted begun=$SECONDS made_policy= status=0
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    log "installing $missing"
    export DEBIAN_FRONTEND=noninteractive
    # The packages shall neither start services nor set up databases: there are private ones.
    [ -e /usr/sbin/policy-rc.d ] || {
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        made_policy=1
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT # also when interrupted
    }
    {
        for package in keystone glance-common placement-common cinder-common neutron-common nova-common; do
            echo "$package ${package%-common}/configure_db boolean false"
        done
        echo "nova-common nova/configure_api_db boolean false"
        echo "neutron-server neutron/configure_db boolean false"
        echo "keystone keystone/create-admin-tenant boolean false"
        for package in keystone glance-api placement-api nova-api cinder-api neutron-server; do
            echo "$package ${package%-*}/register-endpoint boolean false"
        done
    } | debconf-set-selections
    apt-get update >"$STATE/log/apt.log" 2>&1 || log "apt-get update failed; going on with the lists there are"
    # A qemu-utils from backports does not go with this release's qemu, which alone can read Ceph here.
    wanted=$(apt-cache policy qemu-system-x86 | awk '/Candidate:/ { print $2 }')
    case $(version_of qemu-utils) in
        '' | "$wanted") ;;
        *)
            log "qemu-utils $(version_of qemu-utils) is replaced by $wanted, the version of qemu-system-x86"
            missing+=" qemu-utils=$wanted"
            ;;
    esac
    # shellcheck disable=SC2086 # a list of words
    apt-get install -y --no-install-recommends --allow-downgrades -o DPkg::Lock::Timeout=900 \
        -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--force-confold $missing >>"$STATE/log/apt.log" 2>&1 ||
        status=$?
    [ -z "$made_policy" ] || {
        rm -f /usr/sbin/policy-rc.d
        trap - EXIT
    }
    [ $status = 0 ] || fail "apt-get failed; see $STATE/log/apt.log"
    log "packages are there after $((SECONDS - begun)) s"
}

# substitute FILE FROM TO: a line of Debian's own Python, if it is as we know it.
substitute() {
    [ -e "$1" ] && grep -qF -- "$2" "$1" || return 0
    python_replace "$@"
    rm -f "$(dirname "$1")/__pycache__/$(basename "$1" .py)".*.pyc
    log "mended $1"
}
python_replace() {
    /usr/bin/python3 - "$@" <<'PY'
import sys
path, old, new = sys.argv[1:]
text = open(path).read()
open(path, "w").write(text.replace(old, new))
PY
}
mend_packages() {
    local site=/usr/lib/python3/dist-packages
    # oslo.messaging 14.0.3 hands Cinder a context without this field, and every call that notifies ends in HTTP 500.
    substitute $site/cinder/context.py "read_deleted=values.get('read_deleted')," \
        "read_deleted=values.get('read_deleted') or 'no',"
    # ebtables 1.8.9 cannot delete a rule with a list of addresses by its text; such rules stand first in their chain.
    substitute $site/neutron/plugins/ml2/drivers/linuxbridge/agent/arp_protect.py \
        "            ebtables(['-D', chain] + rule.split())" "            ebtables(['-D', chain, '1'])"
}
