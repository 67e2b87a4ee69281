# virsh of a host with one instance, for tests. Its folder is the first argument:
#   domain.xml     the domain; none: libvirt does not know the instance
#   state          as `domstate --reason` says it
#   away           libvirt does not answer
#   refuse-VERB    the verb is refused, in these words
#   job            the backup job that stands
#   checkpoints/   what libvirt knows; bitmaps/   what is in the disk's file
#   agent          what the guest's agent says of being frozen; it answers nothing else
#   calls          each call, as it came
set -u
cd "$1" || exit 1
verb=$5
if [ "$verb" = list ]; then
    sed -n 's|.*<uuid>\(.*\)</uuid>.*|\1|p' domain.xml
    exit 0
fi
shift 7 # folder, --quiet, --connect, uri, verb, --domain, instance
echo "$verb $*" >> calls
fail() { echo "error: $1" >&2; exit 1; }
name_in() { sed 's|<parent>.*</parent>||' "$1" | sed -n 's/.*<name>\(holdfast[^<]*\).*/\1/p'; }
parent_in() { tr -d '\n' < "$1" | sed -n 's/.*<parent><name>\([^<]*\).*/\1/p'; }

[ ! -e away ] || fail "failed to connect to the hypervisor"
[ -e domain.xml ] || fail "failed to get domain"
[ ! -e "refuse-$verb" ] || fail "$(cat "refuse-$verb")"
case $verb in
    dumpxml) cat domain.xml ;;
    domstate) cat state ;;
    domblkinfo) echo " vda 1073741824 4096 4096" ;;
    backup-dumpxml) [ -e job ] || fail "no domain backup job present"; cat job ;;
    backup-begin)
        [ ! -e job ] || fail "a job stands"
        cp "$2" job
        if [ $# -gt 2 ]; then
            name=$(name_in "$4")
            last=$(ls -rt checkpoints | tail -n 1)
            parent=${last:+<parent><name>$last</name></parent>}
            echo "<domaincheckpoint><name>$name</name>$parent</domaincheckpoint>" > "checkpoints/$name"
            touch "bitmaps/$name"
        fi ;;
    qemu-agent-command)
        case $* in
            *guest-fsfreeze-status*) echo '{"return":"'"$(cat agent)"'"}' ;;
            *) fail "Guest agent is not responding" ;;
        esac ;;
    domjobabort) rm job ;;
    resume) echo "running (unpaused)" > state ;;
    checkpoint-list) ls checkpoints ;;
    checkpoint-create)
        name=$(name_in "$3")
        parent=$(parent_in "$3")
        [ -z "$parent" ] || [ -e "checkpoints/$parent" ] || fail "parent $parent not found"
        [ ! -e "refuse-$name" ] || fail "$(cat "refuse-$name")"
        cp "$3" "checkpoints/$name" ;;
    checkpoint-dumpxml) cat "checkpoints/$3" ;;
    checkpoint-delete)
        if [ "$1" = --metadata ]; then
            rm "checkpoints/$3"
        else
            [ -e "checkpoints/$2" ] || fail "no domain checkpoint $2"
            [ -e "bitmaps/$2" ] || fail "bitmap $2 not found in backing chain of 'vda'"
            rm "bitmaps/$2" "checkpoints/$2"
            for other in checkpoints/*; do
                [ -e "$other" ] && sed -i "s|<parent><name>$2</name></parent>||" "$other"
            done
        fi ;;
    *) fail "unknown verb $verb" ;;
esac
exit 0
