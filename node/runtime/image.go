package runtime

import (
	"fmt"
	"strings"

	"oakestra/pkg/errs"
)

// NormalizeImage spells an image name out: registry, path and tag
// ("nginx" -> "docker.io/library/nginx:latest"). errs.Invalid for a name that
// cannot be one.
func NormalizeImage(name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" || strings.ContainsAny(name, " \t\r\n") || strings.Contains(name, "://") {
		return "", fmt.Errorf("image %q is no image name: %w", name, errs.Invalid)
	}
	host, path, found := strings.Cut(name, "/")
	if !found || (!strings.ContainsAny(host, ".:") && host != "localhost") {
		host, path = "docker.io", name
	}
	if host == "index.docker.io" {
		host = "docker.io"
	}
	if host == "docker.io" && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	if path == "" || strings.HasSuffix(path, "/") {
		return "", fmt.Errorf("image %q has no path: %w", name, errs.Invalid)
	}
	last := path[strings.LastIndex(path, "/")+1:]
	if !strings.ContainsAny(last, ":@") {
		path += ":latest"
	}
	return host + "/" + path, nil
}
