# Runs PostgreSQL ("$@") for as long as the process at the other end of standard input lives.
# That end closes when the process stops the server, exits, or is killed in whatever way; then the
# server gets SIGINT, which ends its sessions and writes everything down. $1 is a directory to remove
# at the end, or empty.
trap '' HUP INT QUIT TERM
remove=$1
shift
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
# The outputs are let go: the log stays locked as long as a process has it open.
(
    exec >/dev/null 2>&1
    read -r _ <&3
    kill -INT "$server"
    sleep 20
    kill -QUIT "$server"
) &
watch=$!
exec 3<&-
wait "$server"
status=$?
kill -KILL "$watch"
[ -z "$remove" ] || rm -rf -- "$remove"
exit "$status"
