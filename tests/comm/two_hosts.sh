#!/usr/bin/env bash
# Runs a command on four ranks of two hosts that reach each other over TCP alone, and checks that
# they did: two network namespaces, joined by a virtual cable, each with a host name of its own.
#
#   two_hosts.sh COMMAND...        exit code 77: namespaces are not permitted here
#
# mpirun starts its daemon on the second host through an "rsh agent", which enters the namespace.
set -euo pipefail

if [ "$(id -u)" != 0 ] && [ -z "${LACUNA_IN_NAMESPACE:-}" ]; then
  unshare --user --map-root-user --mount --net true 2>/dev/null ||
    { echo "skipped: neither root nor user namespaces"; exit 77; }
  export LACUNA_IN_NAMESPACE=1
  exec unshare --user --map-root-user --mount --net "$0" "$@"
fi
[ -z "${LACUNA_IN_NAMESPACE:-}" ] || mount -t tmpfs none /run

work=$(mktemp -d)
one=lacuna-$$-1 two=lacuna-$$-2
cleanup() {
  ip netns del $one 2>/dev/null || true
  ip netns del $two 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

reason=$({ ip netns add $one && ip netns add $two &&
  ip link add lacuna1 netns $one type veth peer name lacuna2 netns $two &&
  unshare --uts true; } 2>&1) || { echo "skipped: ${reason:-no ip command}"; exit 77; }
ip -n $one address add 10.213.7.1/24 dev lacuna1
ip -n $two address add 10.213.7.2/24 dev lacuna2
for host in $one $two; do ip -n $host link set lo up; done
ip -n $one link set lacuna1 up
ip -n $two link set lacuna2 up

cat >"$work/agent" <<AGENT
#!/bin/sh
shift  # the host: there is one other
exec ip netns exec $two unshare --uts sh -c "hostname lacuna-host-2; \$*"
AGENT
chmod +x "$work/agent"

export TMPDIR=$work OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export LACUNA_TEST_MACHINES=2
ip netns exec $one unshare --uts sh -c 'hostname lacuna-host-1; exec "$@"' sh \
  mpirun -n 4 --host 10.213.7.1:2,10.213.7.2:2 --oversubscribe --bind-to none -x LACUNA_TEST_MACHINES \
  --mca plm_rsh_agent "$work/agent" --mca mpi_yield_when_idle 1 --mca pml ob1 --mca btl tcp,vader,self \
  --mca btl_tcp_if_include 10.213.7.0/24 --mca oob_tcp_if_include 10.213.7.0/24 "$@"

# The daemons' talk is some tens of KiB.
sent=$(ip netns exec $one cat /sys/class/net/lacuna1/statistics/tx_bytes)
echo "$sent bytes went over the cable"
[ "$sent" -gt 1000000 ] || { echo "too few: the ranks did not use it"; exit 1; }
