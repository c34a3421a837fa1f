package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"
)

func backupCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "backup FILE", Short: "copy the root's store into a file, while it serves", Args: cobra.ExactArgs(1),
		Long: `Writes one consistent copy of everything the root stores and checks that it came
whole. Needs the role Admin. The file holds password hashes; only its owner can
read it. To restore it, stop the system-manager and run

  system-manager -data DIRECTORY -restore FILE

then start it as usual; see docs/operations.md.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.signedIn(cmd.Context())
			if err != nil {
				return err
			}
			n, sum, err := c.backup(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.json {
				return json.NewEncoder(a.out).Encode(map[string]any{"file": args[0], "bytes": n, "sha256": sum})
			}
			a.say("%s: %d bytes, sha256 %s", args[0], n, sum)
			return nil
		}}
}

// backup writes beside the file and renames: a backup that broke off does not
// replace one that is whole.
func (c *client) backup(ctx context.Context, file string) (int64, string, error) {
	resp, err := c.open(ctx, "/api/admin/backup", nil)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	tmp := file + ".part"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, "", err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), resp.Body)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return n, "", errors.Join(fmt.Errorf("the backup broke off after %d bytes: %w", n, err), os.Remove(tmp))
	}
	have, want := hex.EncodeToString(sum.Sum(nil)), resp.Trailer.Get("X-Checksum-Sha256")
	if have != want {
		return n, "", errors.Join(fmt.Errorf("the backup is damaged: its checksum is %s, the root says %q", have, want), os.Remove(tmp))
	}
	return n, have, os.Rename(tmp, file)
}

// open starts a request whose answer is read as it comes.
func (c *client) open(ctx context.Context, route string, header map[string]string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+route, nil)
	if err != nil {
		return nil, fmt.Errorf("root address %q: %w", c.base, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := (&http.Client{}).Do(req) // no timeout: it may take long
	if err != nil {
		return nil, fmt.Errorf("no answer from the root: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		e := &apiError{Code: resp.StatusCode, Status: http.StatusText(resp.StatusCode)}
		_ = json.Unmarshal(data, e) // a proxy's page stays a bare status
		return nil, e
	}
	return resp, nil
}
