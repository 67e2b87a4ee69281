# Services as plain processes: each leads a session of its own, and is known by its id and its start time, so that an id that
# the system gave away again is never taken for ours.

birth() { # birth PID: when the process started, in ticks
    awk '{ sub(/.*\) /, ""); print $20 }' "/proc/$1/stat" 2>/dev/null
}
pid_of() { # pid_of NAME: its id, if it runs
    local pid born
    [ -s "$STATE/run/$1.pid" ] && read -r pid born <"$STATE/run/$1.pid" || return 1
    [ -n "$born" ] && [ "$(birth "$pid")" = "$born" ] && echo "$pid"
}
start() { # start NAME COMMAND...
    local name=$1 pid
    shift
    pid_of "$name" >/dev/null && return 0
    # From /, with nothing of ours but the log: what a service starts itself inherits both.
    (cd / && exec setsid "$@") >>"$STATE/log/$name.log" 2>&1 </dev/null 9>&- &
    pid=$!
    until [ -n "$(birth $pid)" ] || ! kill -0 $pid 2>/dev/null; do :; done
    echo "$pid $(birth $pid)" >"$STATE/run/$name.pid"
}
stop() { # stop NAME
    local pid tries=0
    if pid=$(pid_of "$1"); then
        kill -TERM "$pid" 2>/dev/null || true
        while pid_of "$1" >/dev/null && [ $((tries += 1)) -le 150 ]; do sleep 0.2; done
        # Its session is its process group: what is left of it goes too.
        kill -KILL -- "-$pid" 2>/dev/null || true
    fi
    rm -f "$STATE/run/$1.pid"
}
await() { # await SECONDS NAME COMMAND...: until the command succeeds; at once no more when service NAME is dead
    local end=$((SECONDS + $1)) name=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ -e "$STATE/run/$name.pid" ] && ! pid_of "$name" >/dev/null; then
            tail -n 5 "$STATE/log/$name.log" >&2
            fail "$name ended; see $STATE/log/$name.log"
        fi
        [ $SECONDS -lt $end ] || fail "$name is not ready; see $STATE/log/$name.log"
        sleep 0.5
    done
}
listens() { (exec 3<>"/dev/tcp/$HOST/$1") 2>/dev/null; }
answers() { curl -s -o /dev/null --max-time 10 "http://$HOST:$1/"; }
