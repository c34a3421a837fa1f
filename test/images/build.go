package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Build makes the image of a spec, or takes it from the cache directory when
// the same spec was built there before.
func Build(ctx context.Context, cache string, s Spec) (v1.Image, error) {
	key, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%x", path.Base(s.Repository), sha256.Sum256(append(key, runtime.GOARCH...)))[:32]
	dir := filepath.Join(cache, name)
	if img, err := load(dir); err == nil {
		return img, nil
	}
	debs, err := download(ctx, filepath.Join(cache, "debs-"+path.Base(s.Repository)), s.Packages)
	if err != nil {
		return nil, err
	}
	img, err := assemble(ctx, s, debs)
	if err != nil {
		return nil, fmt.Errorf("build image %s: %w", s.Repository, err)
	}
	return img, save(dir, img)
}

func load(dir string) (v1.Image, error) {
	p, err := layout.FromPath(dir)
	if err != nil {
		return nil, err
	}
	index, err := p.ImageIndex()
	if err != nil {
		return nil, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(m.Manifests) != 1 {
		return nil, errors.New("cache entry is not one image")
	}
	return p.Image(m.Manifests[0].Digest)
}

// save writes beside the final name first, so that an interrupted build leaves
// no half entry.
func save(dir string, img v1.Image) error {
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	p, err := layout.Write(part, empty.Index)
	if err != nil {
		return err
	}
	if err := p.AppendImage(img); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(part, dir)
}

func assemble(ctx context.Context, s Spec, debs []string) (v1.Image, error) {
	var buf bytes.Buffer
	b := &builder{out: tar.NewWriter(&buf), seen: map[string]bool{}}
	b.skeleton(s.Dirs)
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		b.file(name, 0o644, []byte(s.Files[name]))
	}
	for _, deb := range debs {
		if err := b.deb(ctx, deb); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(deb), err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Links)) {
		b.link(name, s.Links[name])
	}
	if err := errors.Join(b.err, b.out.Close()); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	})
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", runtime.GOARCH
	cf.Config.Entrypoint, cf.Config.Cmd, cf.Config.User = s.Entrypoint, s.Command, s.User
	cf.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return mutate.ConfigFile(img, cf)
}

// builder writes one root file system. Everything lives below /usr, with links
// from /bin, /lib and so on, whichever way the packages were laid out.
type builder struct {
	out  *tar.Writer
	seen map[string]bool
	err  error
}

func (b *builder) skeleton(dirs []string) {
	for _, d := range []string{"usr", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "var"} {
		b.dir(d, 0o755)
	}
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		b.link(d, "usr/"+d)
	}
	for _, d := range dirs {
		mode := int64(0o755)
		if d == "tmp" {
			mode = 0o1777
		}
		b.dir(d, mode)
	}
}

func (b *builder) put(h *tar.Header, body io.Reader) {
	if b.err != nil || b.seen[h.Name] {
		return
	}
	b.seen[h.Name] = true
	h.ModTime = time.Unix(0, 0)
	h.Uname, h.Gname = "", ""
	if b.err = b.out.WriteHeader(h); b.err == nil && body != nil {
		_, b.err = io.Copy(b.out, body)
	}
}

func (b *builder) dir(name string, mode int64) {
	if parent := path.Dir(name); parent != "." {
		b.dir(parent, 0o755)
	}
	b.put(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}, nil)
}

func (b *builder) file(name string, mode int64, data []byte) {
	b.dir(path.Dir(name), 0o755)
	b.put(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}, bytes.NewReader(data))
}

func (b *builder) link(name, target string) {
	b.put(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

// deb adds the files of one package, documentation left out.
func (b *builder) deb(ctx context.Context, file string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	in := tar.NewReader(out)
	for b.err == nil {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			b.err = err
			break
		}
		b.entry(h, in)
	}
	_, copyErr := io.Copy(io.Discard, out) // dpkg-deb pads the archive
	return errors.Join(b.err, copyErr, cmd.Wait())
}

func (b *builder) entry(h *tar.Header, body io.Reader) {
	name := usrMerged(strings.Trim(strings.TrimPrefix(h.Name, "./"), "/"))
	if name == "" || name == "." || skipped(name) {
		return
	}
	switch h.Typeflag {
	case tar.TypeDir:
		b.dir(name, h.Mode)
	case tar.TypeReg:
		b.dir(path.Dir(name), 0o755)
		b.put(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: h.Mode, Size: h.Size}, body)
	case tar.TypeSymlink:
		b.dir(path.Dir(name), 0o755)
		b.link(name, h.Linkname)
	case tar.TypeLink:
		b.dir(path.Dir(name), 0o755)
		b.put(&tar.Header{Typeflag: tar.TypeLink, Name: name, Mode: h.Mode,
			Linkname: usrMerged(strings.TrimPrefix(h.Linkname, "./"))}, nil)
	}
}

func usrMerged(name string) string {
	first, _, _ := strings.Cut(name, "/")
	switch first {
	case "bin", "sbin", "lib", "lib64":
		return "usr/" + name
	}
	return name
}

func skipped(name string) bool {
	for _, p := range []string{"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/lib/systemd", "etc/init.d", "etc/systemd"} {
		if name == p || strings.HasPrefix(name, p+"/") {
			return true
		}
	}
	return false
}
