// Command demo-registry builds the two images of the quick start from Debian
// packages and serves them on this machine. `make demo DEMO_OFFLINE=1` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"oakestra/test/images"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:5555", "address to serve on")
	cache := flag.String("cache", "build/images", "directory that keeps built images")
	readyFile := flag.String("ready", "", "file to create once the images can be pulled")
	flag.Parse()
	if err := run(*listen, *cache, *readyFile); err != nil {
		fmt.Fprintln(os.Stderr, "demo-registry:", err)
		os.Exit(1)
	}
}

func run(listen, cache, readyFile string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	return images.Serve(ctx, ln, cache, []images.Spec{images.Nginx(), images.Curl()}, func() {
		fmt.Println("demo-registry: serving on", ln.Addr())
		if readyFile != "" {
			if err := os.WriteFile(readyFile, []byte(ln.Addr().String()+"\n"), 0o644); err != nil {
				fmt.Fprintln(os.Stderr, "demo-registry:", err)
			}
		}
	})
}
