#!/bin/bash
# Opens the page at /api/docs in Debian's chromium and works with it:
# page.mjs says what. Screenshots go to build/browser. It fails loudly when
# there is no browser.
set -euo pipefail
cd "$(dirname "$0")/../.."
deploy/setup.sh browser
for p in chromium node npm; do
	command -v "$p" >/dev/null || {
		echo "browser: $p is missing; run: sudo deploy/setup.sh browser" >&2
		exit 1
	}
done
[ -x bin/system-manager ] || {
	echo "browser: bin/system-manager is missing; run: make build" >&2
	exit 1
}
if ! (cd test/browser && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error); then
	echo "browser: npm cannot fetch what test/browser/package-lock.json names; the lines above say why" >&2
	exit 1
fi
rm -rf build/browser
node test/browser/page.mjs bin/system-manager "$(command -v chromium)" deploy/deploy_curl_application.json build/browser
echo "browser: screenshots are in build/browser"
