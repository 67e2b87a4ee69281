# The way down: guests, services, what Neutron's agents started and plugged. By ids and names of this cloud's own.

own_domains() { # domains whose disks or XML lie in our Nova
    local name
    for name in $(virsh -q -c qemu:///system list --all --name 2>/dev/null); do
        virsh -q -c qemu:///system dumpxml "$name" 2>/dev/null | grep -F -e "$STATE/" -e "$RBD_SECRET" >/dev/null && echo "$name"
    done
    return 0
}

down() {
    local name others= begun=$SECONDS
    [ -s "$STATE/etc/secrets" ] || {
        log "nothing is there in $STATE"
        return 0
    }
    make_secrets
    # First of all: it would see the guests stop, and not start them again with the host.
    stop nova-compute
    if pid_of libvirtd >/dev/null; then
        for name in $(own_domains); do
            virsh -q -c qemu:///system destroy "$name" >/dev/null 2>&1 || true
            [ "$verb" = down ] || virsh -q -c qemu:///system undefine --checkpoints-metadata "$name" >/dev/null 2>&1 || true
        done
    fi
    for name in $SERVICES; do
        case $name in
            nova-* | cinder-* | neutron-* | glance | placement | keystone) stop "$name" & ;;
            *) others="$name $others" ;;
        esac
    done
    wait
    for name in $others; do stop "$name"; done
    ERL_EPMD_PORT=$P_EPMD epmd -kill >/dev/null 2>&1 || true
    unplug
    sed -i "/# $LIBVIRT_MARK begin/,/# $LIBVIRT_MARK end/d" /etc/libvirt/qemu.conf 2>/dev/null || true
    log "down after $((SECONDS - begun)) s"
}

# What Neutron's agents plugged bears Neutron's names. `up` refuses a machine on which there were any before, so these are ours.
unplug() {
    local file pid name chain
    is_done link || return 0
    for file in "$STATE"/neutron/dhcp/*/pid "$STATE"/neutron/external/pids/*.pid*; do
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        ! tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$STATE" || kill -TERM "$pid" 2>/dev/null || true
        rm -f "$file"
    done
    for name in $(ip netns list 2>/dev/null | awk '/^q(dhcp|router)-/ { print $1 }'); do ip netns delete "$name" || true; done
    for name in $(ls /sys/class/net | grep -E '^(brq[0-9a-f]{8}-|vxlan-[0-9]+$|tap[0-9a-f]{8}-)'); do
        ip link delete "$name" 2>/dev/null || true
    done
    ip link delete $LINK 2>/dev/null || true
    for name in iptables ip6tables; do
        $name-save 2>/dev/null | grep neutron- >/dev/null || continue
        $name-save | grep -v neutron- | $name-restore || true
    done
    # The agent's chains of bridged packets, one for each port: emptied of their jumps, then removed.
    neutron_chains() { ebtables -t nat -L 2>/dev/null | sed -n 's/^Bridge chain: \(neutron[^,]*\),.*/\1/p'; }
    for chain in $(neutron_chains); do
        # shellcheck disable=SC2086 # the rule's words
        { ebtables -t nat -L PREROUTING | grep -- "-j $chain\$" || true; } | while read -r rule; do ebtables -t nat -D PREROUTING $rule; done
        ebtables -t nat -F "$chain" || true
    done
    for chain in $(neutron_chains); do ebtables -t nat -X "$chain" || true; done
}

purge() {
    local name
    [ -s "$STATE/etc/secrets" ] || return 0
    rm -f "/etc/libvirt/secrets/$RBD_SECRET".* 
    for name in ceph.conf ceph.client.cinder.keyring; do
        [ "$(readlink "/etc/ceph/$name")" != "$STATE/ceph/${name#ceph.}" ] &&
            [ "$(readlink "/etc/ceph/$name")" != "$STATE/ceph/$name" ] || rm -f "/etc/ceph/$name"
    done
    for name in /etc/libvirt/qemu/*.xml; do
        ! grep -qsF -e "$STATE/" -e "$RBD_SECRET" "$name" || rm -f "$name"
    done
    rm -rf "${STATE:?}"
    log "removed $STATE"
}
