# Everything that is in the cloud, as each of its parts sees it.

list_all() {
    local noun format=(-f value -c ID -c Name)
    for noun in "server --all-projects" "volume --all-projects" "volume snapshot --all-projects" "image" "network" \
        "port" "security group" "project" "user" "role" "trust" "keypair"; do
        # shellcheck disable=SC2086 # noun and option
        case $noun in
            *' '--*) admin ${noun% --*} list --${noun##*--} "${format[@]}" ;;
            trust) admin trust list -f value -c ID ;;
            keypair) admin keypair list -f value -c Name ;;
            *) admin $noun list "${format[@]}" ;;
        esac | sed "s/^/${noun%% --*} /" | sort
    done
    virsh -q -c qemu:///system list --all --name | sed '/^$/d; s/^/domain /' | sort
    rbd --id cinder ls volumes | sed 's/^/rbd image /' | sort
    # The cache of images (_base) and the host's own records are Nova's.
    find "$STATE/nova/instances" -mindepth 1 -maxdepth 1 -type d ! -name _base ! -name locks -printf 'instance folder %f\n' | sort
    find /var/lib/libvirt/qemu -maxdepth 1 -name 'holdfast-*' -printf 'scratch folder %f\n' | sort
}
