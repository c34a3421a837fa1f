// Command page packs the files that the page at /api/docs loads, out of the
// Swagger UI that swaggo publishes as a Go module. Packed, and without the
// source maps and builds for other purposes, they are a twentieth of it.
// `go generate ./root/rest` runs it.
package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	swaggerfiles "github.com/swaggo/files/v2"
)

var names = []string{
	"swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js", "favicon-16x16.png", "favicon-32x32.png",
}

func main() {
	out := flag.String("out", "", "the folder to write to")
	flag.Parse()
	for _, name := range names {
		if err := pack(name, filepath.Join(*out, name+".gz")); err != nil {
			fmt.Fprintln(os.Stderr, "page:", err)
			os.Exit(1)
		}
	}
}

// pack leaves a file alone that holds the same: another version of Go may
// compress in another way.
func pack(name, file string) error {
	want, err := fs.ReadFile(swaggerfiles.FS, name)
	if err != nil {
		return err
	}
	if have, err := unpacked(file); err == nil && bytes.Equal(have, want) {
		return nil
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(want); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

func unpacked(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
