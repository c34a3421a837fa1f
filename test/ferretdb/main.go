// Command ferretdb serves the MongoDB wire protocol from a folder, for the
// tests of root/store/mongostore. It is a module of its own, so that nothing
// of FerretDB reaches the product's go.mod. It prints its URI as the first
// line and ends when its standard input does, so that it never outlives the
// test that started it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	dir := flag.String("dir", "", "folder of the databases")
	listen := flag.String("listen", "127.0.0.1:0", "TCP address; port 0 chooses one")
	flag.Parse()
	if err := run(*dir, *listen); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

func run(dir, listen string) error {
	if dir == "" {
		return fmt.Errorf("-dir must name a folder")
	}
	f, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: listen},
		Logger:    slog.New(slog.DiscardHandler),
		Handler:   "sqlite",
		SQLiteURL: "file:" + dir + "/",
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	fmt.Println(f.MongoDBURI())
	return f.Run(ctx)
}
