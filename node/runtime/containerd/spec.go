package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"oakestra/node/runtime"
)

const (
	sigTerm = syscall.SIGTERM
	sigKill = syscall.SIGKILL
	// pidsLimit bounds processes and threads of one container.
	pidsLimit = 4096
)

// capabilities a container keeps: what common servers need to bind low ports,
// drop to their user and ping; nothing that reaches the host.
var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETPCAP", "CAP_SETFCAP", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT",
}

// CgroupParent is the group below which a node's containers lie.
func CgroupParent(node string) string { return "/oakestra/" + node }

func cgroupPath(s runtime.Spec) string { return CgroupParent(s.Node) + "/" + s.ID() }

// ociOptions makes the container's description. The order matters: user,
// environment and command of the image come first; seccomp looks at the
// capabilities and comes last.
func ociOptions(s runtime.Spec, image client.Image, files string) []oci.SpecOpts {
	host := hostname(s)
	opts := []oci.SpecOpts{
		oci.WithDefaultSpec(),
		oci.WithDefaultUnixDevices,
		oci.WithImageConfig(image),
		oci.WithHostname(host),
		oci.WithEnv(append([]string{"HOSTNAME=" + host}, s.Environment...)),
		oci.WithCgroup(cgroupPath(s)),
		oci.WithPidsLimit(pidsLimit),
		oci.WithNoNewPrivileges,
		oci.WithCapabilities(capabilities),
		oci.WithMounts([]specs.Mount{
			bind(filepath.Join(files, "resolv.conf"), "/etc/resolv.conf"),
			bind(filepath.Join(files, "hosts"), "/etc/hosts"),
		}),
		inheritLimits,
	}
	if len(s.Command) > 0 {
		opts = append(opts, oci.WithProcessArgs(s.Command...))
	}
	if s.MemoryMB > 0 {
		opts = append(opts, oci.WithMemoryLimit(uint64(s.MemoryMB)<<20))
	}
	if s.MilliCPU > 0 {
		opts = append(opts, oci.WithCPUShares(uint64(min(max(s.MilliCPU*1024/1000, 2), 262144))))
	}
	return append(opts, seccomp.WithDefaultProfile(), withoutX32)
}

// withoutX32 leaves out one of the three kinds of system calls of an amd64
// machine that the default profile names: no image uses it, few kernels have
// it, and the time to load a filter grows faster than the number of its rules.
// Such calls are not allowed then.
func withoutX32(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	if s.Linux != nil && s.Linux.Seccomp != nil {
		s.Linux.Seccomp.Architectures = slices.DeleteFunc(s.Linux.Seccomp.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	}
	return nil
}

// inheritLimits drops the default limit on open files: raising one needs a
// capability that small machines lack, and 1024 is too few for servers.
func inheritLimits(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	s.Process.Rlimits = nil
	return nil
}

func bind(from, to string) specs.Mount {
	return specs.Mount{Destination: to, Type: "bind", Source: from, Options: []string{"rbind", "rw"}}
}

// hostname is "<service>-<number>" with the service's short name.
func hostname(s runtime.Spec) string {
	name := string(s.Service)
	if p := strings.Split(s.JobName, "."); len(p) == 4 && p[2] != "" {
		name = p[2]
	}
	return fmt.Sprintf("%s-%d", name, s.Number)
}

func (e *Engine) filesDir(id string) string { return filepath.Join(e.cfg.Data, "files", id) }

// writeFiles makes what is mounted over the image's /etc and returns where.
func (e *Engine) writeFiles(s runtime.Spec) (string, error) {
	dir := e.filesDir(s.ID())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	resolv := "nameserver " + s.DNS + "\n"
	if s.DNS == "" {
		text, err := os.ReadFile("/etc/resolv.conf")
		if err != nil && !os.IsNotExist(err) {
			return "", err
		}
		resolv = string(text)
	}
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	host := hostname(s)
	if s.InstanceIP != "" {
		hosts += s.InstanceIP + "\t" + host + "\n"
	} else {
		hosts += "127.0.1.1\t" + host + "\n"
	}
	for name, text := range map[string]string{"resolv.conf": resolv, "hosts": hosts} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return dir, nil
}
