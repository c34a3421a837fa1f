#!/bin/bash
# Prints the whole-system figures. Needs root and a quiet machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
GO=${GO:-go}
if [ "$(id -u)" != 0 ]; then
	echo "bench: measuring containers and networks needs root; run: sudo make bench" >&2
	exit 1
fi
deploy/setup.sh bench
echo "load before the start: $(cut -d ' ' -f 1-3 /proc/loadavg), $(nproc) cores, $(uname -r)"
CGO_ENABLED=0 "$GO" test -run '^$' -bench . -benchtime 1x -timeout 20m ./test/bench
