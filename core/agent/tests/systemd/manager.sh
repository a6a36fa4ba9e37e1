#!/bin/sh
# A systemd for one test: a user manager with a message bus, in namespaces of its own, until stdin is closed.
# Called as: unshare --mount sh manager.sh DIRECTORY
set -eu
directory=$1

if [ "${2:-}" = inside ]; then
    export XDG_RUNTIME_DIR="$directory/run" XDG_CONFIG_HOME="$directory/config"
    export DBUS_SESSION_BUS_ADDRESS="unix:path=$directory/run/bus"
    dbus-daemon --session --address="$DBUS_SESSION_BUS_ADDRESS" --fork --nopidfile
    /usr/lib/systemd/systemd --user &
    wait
    exit
fi

# What says that the machine was booted with systemd, and a group of processes in which it may make its own.
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
mount -t cgroup2 none /sys/fs/cgroup
own=/sys/fs/cgroup/lockstep-test-$$
mkdir "$own"
echo $$ >"$own/cgroup.procs"
unshare --pid --fork --kill-child --mount-proc sh "$0" "$directory" inside &
inside=$!
cat >/dev/null
kill -KILL $inside
wait || true
echo $$ >/sys/fs/cgroup/cgroup.procs
tries=0
until find "$own" -depth -type d -exec rmdir {} + 2>/dev/null || [ $tries -gt 200 ]; do
    tries=$((tries + 1))
    sleep 0.05
done
