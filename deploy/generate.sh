#!/bin/bash
# Rebuilds generated code: protobuf of the root-cluster link, and the OpenAPI
# documents of the root, 2.0 and 3.0. Needs protoc (apt: protobuf-compiler); without it the
# protobuf code is left as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
GO=${GO:-go}
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

if command -v protoc >/dev/null; then
	for t in google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc; do
		"$GO" build -modfile=tools/go.mod -o "$tools/" "$t"
	done
	PATH="$tools:$PATH" protoc --go_out=. --go_opt=module=oakestra --go-grpc_out=. --go-grpc_opt=module=oakestra api/link/v1/link.proto
else
	echo "generate: protoc is missing, protobuf code is left as it is; install it with: sudo apt-get install protobuf-compiler" >&2
fi
"$GO" generate ./root/...
