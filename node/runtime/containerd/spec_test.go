package containerd

import (
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// The filter keeps what images are made for, 32-bit programs included.
func TestTheFilterHasNoX32(t *testing.T) {
	s := &oci.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}, Linux: &specs.Linux{}}
	for _, opt := range []oci.SpecOpts{seccomp.WithDefaultProfile(), withoutX32} {
		if err := opt(t.Context(), nil, nil, s); err != nil {
			t.Fatal(err)
		}
	}
	got := s.Linux.Seccomp.Architectures
	if len(got) == 0 || slices.Contains(got, specs.ArchX32) {
		t.Errorf("architectures: %v", got)
	}
	if slices.Contains(got, specs.ArchX86_64) != slices.Contains(got, specs.ArchX86) {
		t.Errorf("32-bit programs of this machine are left out: %v", got)
	}
	if err := withoutX32(t.Context(), nil, nil, &oci.Spec{}); err != nil {
		t.Errorf("without a filter: %v", err)
	}
}
