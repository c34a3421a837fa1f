#!/bin/bash
# Format, vet, lint, architecture and generated code. Fails on any finding.
set -uo pipefail
cd "$(dirname "$0")/.."
GO=${GO:-go}
status=0
note() { printf '== %s\n' "$*"; }

note gofmt
unformatted=$(gofmt -l api cmd cluster netmanager node pkg root test tools 2>/dev/null || "$(dirname "$GO")/gofmt" -l .)
if [ -n "$unformatted" ]; then
	echo "not formatted, run gofmt -w on:"
	echo "$unformatted"
	status=1
fi

note "go vet"
"$GO" vet ./... || status=1

"$GO" -C tools/openapi vet ./... || status=1

note "golangci-lint"
lint=$(command -v golangci-lint || true)
if [ -n "$lint" ] && "$lint" version 2>/dev/null | grep -q "$(sed -n 's/^golangci_version=//p' tools/versions)"; then
	"$lint" run ./... || status=1
else
	"$GO" tool -modfile=tools/go.mod golangci-lint run ./... || status=1
fi

note "architecture"
"$GO" test -count=1 ./test/arch || status=1

note "modules"
"$GO" mod tidy -diff || {
	echo "go.mod is not tidy, run: go mod tidy"
	status=1
}

"$GO" -C tools/openapi mod tidy -diff || {
	echo "tools/openapi/go.mod is not tidy, run: go -C tools/openapi mod tidy"
	status=1
}

note "generated code"
before=$(git status --porcelain -- api root)
if ! GO=$GO deploy/generate.sh; then
	status=1
elif [ "$(git status --porcelain -- api root)" != "$before" ]; then
	echo "make generate changes files; commit what it makes:"
	git diff --stat -- api root
	status=1
fi
"$GO" -C tools/openapi test -count=1 ./... || status=1

[ $status = 0 ] && note "clean"
exit $status
