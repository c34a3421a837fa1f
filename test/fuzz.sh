#!/bin/bash
# Runs every fuzz target for the given time each (default 10s).
set -uo pipefail
cd "$(dirname "$0")/.."
GO=${GO:-go}
time=${1:-10s}
status=0
while IFS=: read -r file target; do
	package=./$(dirname "$file")
	echo "== $package $target"
	"$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" || status=1
done < <(grep -rEoH --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/func //')
exit $status
