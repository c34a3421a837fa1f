#!/bin/sh
# The quick start, end to end: starts the site, deploys the descriptor as it
# is, waits until it runs and fetches nginx's page from the curl container
# through the service address. Called by `make demo`, as root.
#
#   DEMO_OFFLINE=1   builds the two images from Debian packages into a registry
#                    on this machine instead of pulling them from docker.io
set -eu

cd "$(dirname "$0")/../.."
STATE=${STATE:-/var/lib/oakestra}
GO=${GO:-go}
OFFLINE=${DEMO_OFFLINE:-}
APP=deploy/deploy_curl_application.json
REGISTRY=127.0.0.1:5555
run_dir=build/demo
export OAK_ROOT=${OAK_ROOT:-http://localhost:10000}

say() { printf '%s\n' "$*"; }
fail() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

# registry_pids prints the processes of this checkout's registry. It goes by
# their program, not by a file: "make clean" removes files, also the program
# itself, whose name then ends in " (deleted)".
registry_pids() {
	for exe in /proc/[0-9]*/exe; do
		case "$(readlink "$exe" 2>/dev/null)" in
		"$(pwd -P)/bin/demo-registry" | "$(pwd -P)/bin/demo-registry (deleted)")
			exe=${exe#/proc/}
			printf '%s\n' "${exe%/exe}"
			;;
		esac
	done
}

# stop_registry stops the registry this script started.
stop_registry() {
	pids=$(registry_pids)
	for pid in $pids; do
		kill "$pid"
	done
	tries=0
	while [ -n "$(registry_pids)" ]; do
		tries=$((tries + 1))
		[ $tries -le 100 ] || fail "the image registry (process $(registry_pids | tr '\n' ' ')) does not end"
		sleep 0.1
	done
	[ -z "$pids" ] || say "  image registry stopped"
	rm -rf "$run_dir"
}

start_registry() {
	if [ -f "$run_dir/ready" ] && [ -n "$(registry_pids)" ]; then
		say "image registry already serves on $REGISTRY"
		return
	fi
	stop_registry # one whose files are lost holds the port
	mkdir -p "$run_dir"
	say "building the two images from Debian packages (kept in build/images)"
	"$GO" build -trimpath -o bin/demo-registry ./test/images/demo-registry
	setsid bin/demo-registry -listen "$REGISTRY" -cache build/images -ready "$run_dir/ready" \
		>"$run_dir/registry.log" 2>&1 </dev/null &
	registry=$!
	tries=0
	until [ -f "$run_dir/ready" ]; do
		tries=$((tries + 1))
		if [ $tries -gt 600 ] || ! kill -0 "$registry" 2>/dev/null; then
			cat "$run_dir/registry.log" >&2
			fail "the image registry did not start; its log is above"
		fi
		sleep 0.2
	done
	say "image registry serves on $REGISTRY"
}

case "${1:-}" in
stop-registry)
	stop_registry
	exit 0
	;;
esac

[ "$(id -u)" = 0 ] || fail "needs root; run: sudo make demo"

up_flags=""
if [ -n "$OFFLINE" ] && [ "$OFFLINE" != 0 ]; then
	start_registry
	printf '{"registries":{"docker.io":{"mirrors":["http://%s"]}}}\n' "$REGISTRY" >"$run_dir/registries.json"
	up_flags="--registries $run_dir/registries.json"
fi

# Room for a few instances more, also on a small machine: vcpus are shares, not
# cores of one's own.
vcpus=$(nproc)
[ "$vcpus" -ge 8 ] || vcpus=8

say "starting Oakestra"
# shellcheck disable=SC2086
bin/oak up -d --state "$STATE" --vcpus "$vcpus" $up_flags

if bin/oak apps | grep -q '^clientsrvr '; then
	say "the application clientsrvr.test is there already"
	bin/oak wait clientsrvr --timeout 30s || say "not all of its instances run; going on with those that do"
else
	say "deploying $APP"
	bin/oak deploy "$APP"
	bin/oak wait clientsrvr --timeout 4m
fi

say
bin/oak services
say
say "curl container -> http://10.30.30.30 (nginx's service address):"
page=""
tries=0
until page=$(bin/NodeEngine exec -data "$STATE/node" clientsrvr.test.curl.test 0 curl -sS --max-time 5 http://10.30.30.30/ 2>&1); do
	tries=$((tries + 1))
	[ $tries -lt 10 ] || fail "no page through 10.30.30.30: $page"
	sleep 1
done
printf '%s\n' "$page" | head -n 12
case "$page" in
*"Welcome to nginx"*) ;;
*) fail "the answer is not nginx's page" ;;
esac

say
say "It works. Look around:"
say "  API docs  http://localhost:10000/api/docs   (Admin / Admin)"
if [ -n "$OFFLINE" ] && [ "$OFFLINE" != 0 ]; then
	say "  nginx     http://localhost:6080"
else
	say "  nginx     http://10.30.30.30 (the official image listens on 80; the descriptor publishes 6080 for container port 60)"
fi
say "  services  bin/oak services"
say "  remove    make down"
