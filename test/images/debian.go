package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

// download fetches the packages and the libraries they need into dir and
// returns the .deb files, sorted. It refreshes apt's lists once when a package
// is not found, which needs root.
func download(ctx context.Context, dir string, packages []string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	names, err := closure(ctx, packages)
	if err == nil {
		err = aptDownload(ctx, dir, names)
	}
	if err != nil {
		// Stale or missing lists: refresh and try once more.
		if out, updateErr := command(ctx, "", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", "update"); updateErr != nil {
			return nil, fmt.Errorf("%w; refreshing the lists failed too (run apt-get update as root): %s", err, out)
		}
		if names, err = closure(ctx, packages); err != nil {
			return nil, err
		}
		if err = aptDownload(ctx, dir, names); err != nil {
			return nil, err
		}
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	sort.Strings(debs)
	return debs, err
}

// closure lists the packages with every library below them. Dependencies that
// are no libraries (debconf, lsb-base, ...) serve dpkg, not the program.
func closure(ctx context.Context, packages []string) ([]string, error) {
	args := append([]string{"depends", "--recurse", "--no-recommends", "--no-suggests",
		"--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"}, packages...)
	out, err := command(ctx, "", "apt-cache", args...)
	if err != nil {
		return nil, fmt.Errorf("apt-cache depends %s: %w: %s", strings.Join(packages, " "), err, out)
	}
	names := append([]string(nil), packages...)
	for _, line := range strings.Split(out, "\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "<") || line == "" {
			continue
		}
		if strings.HasPrefix(line, "lib") || strings.HasPrefix(line, "zlib1g") {
			names = append(names, line)
		}
	}
	return names, nil
}

func aptDownload(ctx context.Context, dir string, names []string) error {
	out, err := command(ctx, dir, "apt-get", append([]string{"-q", "-o", "APT::Sandbox::User=root", "download"}, names...)...)
	if err != nil {
		return fmt.Errorf("apt-get download: %w: %s", err, out)
	}
	return nil
}

func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
