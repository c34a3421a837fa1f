#!/bin/bash
# Runs the tests. Usage: test/run.sh [all|unit|mongo|host|e2e|crash|faults|harness]
#
# As root everything runs, and a test that needs the kernel, containerd or a
# broker fails when it cannot have them. Without root those parts are left
# out, and this script says so.
set -uo pipefail
cd "$(dirname "$0")/.."

part=${1:-all}
case $part in
all | unit | mongo | host | e2e | crash | faults | harness) ;;
*)
	echo "test/run.sh: no such part: $part; there are all, unit, mongo, host, e2e, crash, faults, harness" >&2
	exit 2
	;;
esac
GO=${GO:-go}
logs=build/test
mkdir -p "$logs"
export CGO_ENABLED=1 # the race detector needs it
export PATH="$PATH:/usr/sbin:/sbin"
status=0

say() { printf '%s\n' "$*"; }

root=
if [ "$(id -u)" = 0 ]; then
	root=1
	deploy/setup.sh test || exit 1
	export OAK_TEST_REQUIRE=1
elif ! command -v gcc >/dev/null; then
	say "test: gcc is missing, the race detector needs it; run: sudo deploy/setup.sh test" >&2
	exit 1
fi

race=-race

# run NAME FLAGS... : go test -race with a log, a short view and the counts.
run() {
	local name=$1 log="$logs/$1.log"
	shift
	local begin=$SECONDS
	say "== $name"
	"$GO" test $race -count=1 -v "$@" >"$log" 2>&1
	local rc=$?
	grep -E '^(ok|FAIL|panic:|#)|^ *--- FAIL|DATA RACE|\[build failed\]' "$log" | grep -v 'no test files'
	local passed failed skipped
	passed=$(grep -cE '^ *--- PASS' "$log")
	failed=$(grep -cE '^ *--- FAIL' "$log")
	skipped=$(grep -cE '^ *--- SKIP' "$log")
	if [ "$skipped" != 0 ]; then
		say "skipped, with the reason:"
		grep -E -B3 '^ *--- SKIP' "$log" | grep -vE '^(=== |--$)' | sed 's/^/  /'
	fi
	grep -E ': (LEFT OUT|COUNT:) ' "$log" | sed 's/^ *[a-z_]*\.go:[0-9]*: /  /'
	if [ $rc != 0 ]; then
		status=1
		say "the failures, from $log:"
		# A failing test's own lines, without the output of those that passed.
		grep -E -B30 '^ *--- FAIL|DATA RACE' "$log" | grep -vE '^=== (RUN|PAUSE|CONT)' | tail -n 150
		grep -E -A20 '^# |^panic:' "$log" | head -n 60
	fi
	say "== $name: $passed passed, $failed failed, $skipped skipped, $((SECONDS - begin)) s"
}

# units: all packages but those of the kernel and end-to-end parts.
units() { "$GO" list ./... | grep -vE '/test/(e2e|bench|faults)$|/root/store/mongostore$|/netmanager/host/linux$|/node/runtime/containerd$'; }

case $part in
all | unit)
	# shellcheck disable=SC2046
	run unit -p 2 $(units)
	;;
esac

# Part of unit, too, with fewer kills.
case $part in
crash)
	run crash -timeout 30m -run TestKilledUnderWriters ./test/crash
	;;
esac

# Part of unit, too, with 12 seeds and with the race detector, which makes them
# six times as slow; the models with 100 sequences each.
case $part in
harness)
	race=
	run harness -timeout 120m ./test/harness -seeds "${SEEDS:-1000}" -seed "${SEED:-1}"
	run models -timeout 30m ./cluster/fleet -run 'TestModel|TestDisorderChangesNothing' -rapid.checks=10000 -rapid.steps=100
	OAK_TEST_POOL_ROUNDS=100 run pools -timeout 10m ./pkg/core/address
	race=-race
	;;
esac

# The MongoDB store runs against FerretDB, a module of its own, and against a
# real server when OAK_TEST_MONGO_URI names one.
case $part in
all | mongo)
	say "== building FerretDB (a minute when nothing is cached)"
	begin=$SECONDS
	if (cd test/ferretdb && CGO_ENABLED=0 GOFLAGS=-buildvcs=false "$GO" build -tags ferretdb_no_postgresql -o ../../build/ferretdb .); then
		say "== built in $((SECONDS - begin)) s"
		OAK_TEST_FERRETDB=$PWD/build/ferretdb run mongo ./root/store/mongostore ${OAK_TEST_MONGO_URI:+./root}
	else
		say "FAIL: test/ferretdb does not build"
		status=1
	fi
	;;
esac

if [ -z "$root" ]; then
	say
	say "NOT RUN: the data plane, containerd and end-to-end tests need root."
	say "         To run them: sudo make test"
	case $part in all | unit | mongo | crash | harness) ;; *) status=1 ;; esac
	exit $status
fi

case $part in
all | host)
	run host -p 1 -timeout 10m ./netmanager/host/linux ./node/runtime/containerd
	;;
esac
case $part in
all | e2e)
	run e2e -p 1 -timeout 15m ./test/e2e ./test/faults
	;;
esac

# Half an hour of cut links, killed daemons and lost stores; the short ones are
# part of e2e.
case $part in
faults)
	OAK_TEST_LONG=1 run faults -timeout 60m ./test/faults
	if [ -f "$logs/faults.log" ]; then
		say "measured:"
		grep -E '^ *--- |FIGURE: ' "$logs/faults.log" | sed 's/[a-z_]*\.go:[0-9]*: FIGURE: //'
	fi
	;;
esac
exit $status
