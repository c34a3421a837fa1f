#!/bin/sh
# Installs the programs that Oakestra needs on Debian 12+ and Ubuntu 22.04+.
# Running it again changes nothing. What is there already is left alone, so a
# machine with Docker's containerd.io keeps it.
#
#   deploy/setup.sh            what a worker and the demo need
#   deploy/setup.sh test       also what the tests need
#   deploy/setup.sh bench      also what the benchmarks need
#   deploy/setup.sh browser    what the test in a browser needs, and only that
set -eu

want=${1:-run}
packages=""

# need PROGRAM PACKAGE: asks for the package only when the program is missing.
need() {
	if ! PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin" command -v "$1" >/dev/null 2>&1; then
		packages="$packages $2"
	fi
}

# need_file FILE PACKAGE: the same for what is no program.
need_file() {
	[ -e "$1" ] || packages="$packages $2"
}

if [ "$want" = browser ]; then
	need chromium chromium
	need node nodejs
	need npm npm
else
	need containerd containerd
	need ctr containerd
	need runc runc
	need iptables iptables
	need nft nftables
	need ip iproute2
	need curl curl
	need ps procps
fi
need_file /etc/ssl/certs/ca-certificates.crt ca-certificates

if [ "$want" = test ] || [ "$want" = bench ]; then
	need git git # the arch tests list files through it
	need gcc gcc # the race detector needs cgo
	need_file /usr/include/stdlib.h libc6-dev
	need mosquitto mosquitto
	need conntrack conntrack
	need iperf3 iperf3
	need ping iputils-ping
	need_file /bin/busybox busybox-static
fi
if [ "$want" = bench ]; then
	need wrk wrk
fi

[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "setup: missing:$packages" >&2
	echo "setup: this machine has no apt-get; install these packages with its own package manager and run again" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "setup: missing:$packages" >&2
	echo "setup: installing packages needs root; run: sudo $0 $want" >&2
	exit 1
fi

echo "setup: installing$packages"
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Daemons that packages bring (containerd, mosquitto) are not needed as system
# services here: a policy file keeps dpkg from starting them during this run.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$log" "$policy"' EXIT
fi
# shellcheck disable=SC2086
if ! { $apt update && $apt install -y --no-install-recommends $packages; } >"$log" 2>&1; then
	tail -n 30 "$log" >&2
	echo "setup: apt-get failed; the lines above say why" >&2
	exit 1
fi
echo "setup: done"
