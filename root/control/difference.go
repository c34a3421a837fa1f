package control

import (
	"slices"
	"strings"

	"oakestra/pkg/core/model"
)

// Differences names the fields that two specs differ in, as descriptors spell
// them.
func Differences(a, b model.ServiceSpec) []string {
	if a.Equal(b) {
		return nil
	}
	var out []string
	for _, f := range []struct {
		name string
		same bool
	}{
		{"code", a.Image == b.Image}, {"virtualization", a.Runtime == b.Runtime}, {"cmd", slices.Equal(a.Command, b.Command)},
		{"environment", slices.Equal(a.Environment, b.Environment)}, {"vcpus", a.Demand.MilliCPU == b.Demand.MilliCPU},
		{"memory", a.Demand.MemoryMB == b.Demand.MemoryMB}, {"vgpus", a.Demand.GPUs == b.Demand.GPUs}, {"storage", a.Demand.DiskMB == b.Demand.DiskMB},
		{"port", a.PortText == b.PortText && slices.Equal(a.Ports, b.Ports)}, {"arch", slices.Equal(a.Arch, b.Arch)},
		{"one_shot", a.OneShot == b.OneShot}, {"on_cluster_loss", a.OnClusterLoss == b.OnClusterLoss},
		{"max_unavailable", a.MaxUnavailable == b.MaxUnavailable}, {"start_seconds", a.StartSeconds == b.StartSeconds},
		{"constraints", (model.ServiceSpec{Constraints: a.Constraints}).Equal(model.ServiceSpec{Constraints: b.Constraints})},
		{"fields that are only kept", a.Kept == b.Kept},
	} {
		if !f.same {
			out = append(out, f.name)
		}
	}
	return out
}

func joinWhat(what []string) string {
	if len(what) == 0 {
		return "the same"
	}
	return strings.Join(what, ", ")
}
