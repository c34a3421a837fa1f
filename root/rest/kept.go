package rest

import (
	"encoding/json"
	"slices"

	wire "oakestra/api/rest"
	"oakestra/pkg/core/model"
	"oakestra/pkg/core/sla"
	"oakestra/root/control"
	"oakestra/root/rollout"
)

// kept is the part of a descriptor that decides nothing, as package sla keeps
// it.
type kept struct {
	Args              []string          `json:"args"`
	AddedFiles        []string          `json:"added_files"`
	VMImages          []string          `json:"vm_images"`
	State             string            `json:"state"`
	ViolationStrategy string            `json:"sla_violation_strategy"`
	TargetNode        string            `json:"target_node"`
	Platform          string            `json:"platform"`
	VTPUs             int64             `json:"vtpus"`
	BandwidthIn       int64             `json:"bandwidth_in"`
	BandwidthOut      int64             `json:"bandwidth_out"`
	Privileged        bool              `json:"privileged"`
	Volumes           []wire.Volume     `json:"volumes"`
	Connectivity      []wire.Connection `json:"connectivity"`
	Constraints       []wire.Constraint `json:"constraints"`
	Addresses         wire.Addresses    `json:"addresses"`
}

// addKept gives back what was only kept.
func addKept(s *wire.Service, spec model.ServiceSpec) {
	k := keptOf(spec)
	chosen := s.Addresses.RoundRobin
	s.Addresses = k.Addresses
	s.Addresses.RoundRobin = chosen
	s.Args, s.AddedFiles, s.VMImages = texts(k.Args), texts(k.AddedFiles), texts(k.VMImages)
	s.State, s.ViolationStrategy, s.TargetNode, s.Platform = k.State, k.ViolationStrategy, k.TargetNode, k.Platform
	s.VTPUs, s.BandwidthIn, s.BandwidthOut, s.Privileged = k.VTPUs, k.BandwidthIn, k.BandwidthOut, k.Privileged
	s.Volumes = append([]wire.Volume{}, k.Volumes...)
	s.Connectivity = append([]wire.Connection{}, k.Connectivity...)
	for i := range s.Connectivity {
		s.Connectivity[i].Constraints = append([]wire.Constraint{}, s.Connectivity[i].Constraints...)
	}
	s.Constraints = append(s.Constraints, k.Constraints...)
	limits := rollout.LimitsOf(spec)
	s.MaxUnavailable, s.StartSeconds = limits.MaxUnavailable, int(limits.Start.Seconds())
	if s.OnClusterLoss = spec.OnClusterLoss; s.OnClusterLoss == "" {
		s.OnClusterLoss = "keep"
	}
}

// nothingKept is of most services; never written to.
var nothingKept kept

func keptOf(spec model.ServiceSpec) *kept {
	if spec.Kept == "" {
		return &nothingKept
	}
	k := &kept{}
	_ = json.Unmarshal([]byte(spec.Kept), k) // its types were checked when it came
	return k
}

func toRollout(p control.Progress) wire.Rollout {
	state := string(p.State)
	if p.State == model.RolloutDone {
		state = "done"
	}
	return wire.Rollout{
		Revision: p.Revision, Target: p.Target, Updated: p.Updated, Total: p.Total, MaxUnavailable: p.MaxUnavailable, State: state, Message: p.Message,
	}
}

func toRevisions(list []model.Revision) []wire.Revision {
	out := make([]wire.Revision, 0, len(list))
	for i, r := range list {
		v := wire.Revision{
			Revision: r.Number, Present: i == len(list)-1, Image: r.Spec.Image, Command: texts(r.Spec.Command), Port: r.Spec.PortText,
			Memory: r.Spec.Demand.MemoryMB, VCPUs: cpus(r.Spec.Demand), Changes: []string{},
		}
		if i > 0 {
			v.Changes = texts(control.Differences(list[i-1].Spec, r.Spec))
		}
		out = append(out, v)
	}
	return out
}

func toApplied(in control.Applied, dry bool) wire.Applied {
	item := func(i control.Item) wire.AppliedItem { return wire.AppliedItem(i) }
	return wire.Applied{
		DryRun: dry, Created: each(in.Created, item), Changed: each(in.Changed, item), Left: each(in.Left, item), Warnings: warningTexts(in.Warnings),
	}
}

func warningTexts(list []sla.Warning) []string {
	return each(list, sla.Warning.String)
}

func numbers(list []int) []int { return append([]int{}, slices.Sorted(slices.Values(list))...) }
