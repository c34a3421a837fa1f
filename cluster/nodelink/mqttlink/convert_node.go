package mqttlink

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"oakestra/api/mqtt"
	"oakestra/cluster/nodelink"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
)

// maxNumber bounds instance numbers on the wire.
const maxNumber = 1 << 31

// number is a JSON number or a string that holds one: agents send both.
type number float64

// UnmarshalJSON accepts 5, "5", "5.0", "" and null.
func (n *number) UnmarshalJSON(b []byte) error {
	v, err := numberFrom(strings.Trim(string(b), `"`))
	*n = v
	return err
}

func numberFrom(text string) (number, error) {
	s := strings.TrimSpace(text)
	if s == "" || s == "null" {
		return 0, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("%s is no number", text)
	}
	return number(f), nil
}

func (n number) port() (uint16, error) {
	if n < 0 || n > math.MaxUint16 || number(uint16(n)) != n {
		return 0, fmt.Errorf("port %v", float64(n))
	}
	return uint16(n), nil
}

// bytes is the number as an amount that cannot be negative.
func (n number) bytes() int64 { return int64(min(max(float64(n), 0), math.MaxInt64/2)) }

func percent(v float64) float64 { return min(max(v, 0), 100) }

// information is mqtt.Information in both vocabularies: from v0.4.410 on,
// "memory" is free MiB instead of per cent used, and "cpu" became cpu_percent.
type information struct {
	CPU            number `json:"cpu"`
	Memory         number `json:"memory"`
	MemoryFreeInMB number `json:"memory_free_in_MB"`

	CPUPercentLate    *number `json:"cpu_percent"`
	MemoryPercentLate *number `json:"memory_percent"`

	Boot       string          `json:"boot"`
	Seq        uint64          `json:"seq"`
	CPUPercent float64         `json:"cpu_used_percent"`
	Combined   bool            `json:"combined"`
	Services   []serviceReport `json:"services"`
}

func decodeInformation(payload []byte) (nodelink.Inbound, error) {
	w, ok := scanInformation(payload)
	if !ok {
		var err error
		if w, err = read[information](payload); err != nil {
			return nodelink.Inbound{}, err
		}
	}
	r := &nodelink.NodeReport{
		Boot: w.Boot, Seq: w.Seq, Complete: w.Combined, Original: w.Boot == "",
		// The early engines' cpu is a load average; it stands for per cent, as
		// their own cluster manager takes it.
		Usage:      model.Usage{CPUPercent: percent(float64(w.CPU)), MemoryPercent: percent(float64(w.Memory))},
		FreeMemory: w.MemoryFreeInMB.bytes(),
	}
	if w.CPUPercentLate != nil || w.MemoryPercentLate != nil {
		r.FreeMemory = w.Memory.bytes()
		r.Usage = model.Usage{}
		if w.CPUPercentLate != nil {
			r.Usage.CPUPercent = percent(float64(*w.CPUPercentLate))
		}
		if w.MemoryPercentLate != nil {
			r.Usage.MemoryPercent = percent(float64(*w.MemoryPercentLate))
		}
	}
	if !r.Original {
		r.Usage.CPUPercent = percent(w.CPUPercent)
	}
	if !w.Combined {
		return nodelink.Inbound{Report: r}, nil
	}
	var err error
	r.Containers, err = containers(w.Services, w.Boot, w.Seq)
	return nodelink.Inbound{Report: r}, err
}

// serviceReport is mqtt.ServiceReport in all its spellings.
type serviceReport struct {
	mqtt.ServiceReport
	CPU               number  `json:"cpu"`
	Memory            number  `json:"memory"`
	Disk              number  `json:"disk"`
	CPUPercentLate    *number `json:"cpu_percent"`
	MemoryPercentLate *number `json:"memory_percent"` // a fraction, 0..1
}

func decodeResources(payload []byte) (nodelink.Inbound, error) {
	list, ok := scanResources(payload)
	if !ok {
		w, err := read[struct {
			Services []serviceReport `json:"services"`
		}](payload)
		if err != nil {
			return nodelink.Inbound{}, err
		}
		list = w.Services
	}
	r := &nodelink.NodeReport{ContainersOnly: true, Original: true}
	for _, s := range list {
		if s.Grant != 0 || s.ServiceID != "" {
			r.Original = false
		}
	}
	var err error
	r.Containers, err = containers(list, "", 0)
	return nodelink.Inbound{Report: r}, err
}

func containers(services []serviceReport, boot string, seq uint64) ([]nodelink.Container, error) {
	out := make([]nodelink.Container, 0, len(services))
	for _, s := range services {
		c, err := s.container(boot, seq)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (s serviceReport) container(boot string, seq uint64) (nodelink.Container, error) {
	if err := checkSlot(s.ServiceID, s.JobName, s.Instance); err != nil {
		return nodelink.Container{}, err
	}
	c := nodelink.Container{Service: model.ServiceID(s.ServiceID), JobName: s.JobName, Number: s.Instance}
	c.Vital = instance.Vital{
		Boot: boot, Seq: seq, LogTail: s.Logs,
		Usage: model.Usage{
			CPUPercent:  max(float64(s.CPU), 0),
			MemoryBytes: s.Memory.bytes(),
			DiskBytes:   s.Disk.bytes(),
		},
	}
	if s.CPUPercentLate != nil {
		c.Vital.Usage.CPUPercent = max(float64(*s.CPUPercentLate), 0)
	}
	if s.MemoryPercentLate != nil {
		c.Vital.Usage.MemoryPercent = percent(float64(*s.MemoryPercentLate) * 100)
	}
	if s.NamespaceIP != "" {
		a, err := netip.ParseAddr(s.NamespaceIP)
		if err != nil {
			return c, fmt.Errorf("address %q", s.NamespaceIP)
		}
		c.Vital.NamespaceIP = a.Unmap()
	}
	if s.State == "" { // an agent without states: what it lists runs
		c.Vital.Healthy = true
		return c, nil
	}
	state, ok := states[s.State]
	if !ok {
		return c, fmt.Errorf("state %q", s.State)
	}
	c.Observed = instance.Observed{
		Epoch: instance.Epoch{Grant: instance.Grant(s.Grant), Try: s.Try},
		State: state, Seq: s.StateSeq, Reason: s.Reason, Exit: s.ExitCode,
	}
	c.Restarting = s.Restarting
	c.Vital.Healthy = state == instance.Running && !s.Restarting
	return c, nil
}

// states by word; ACTIVE is what early engines call a container that runs.
var states = map[string]instance.State{
	"CREATING":   instance.Creating,
	"CREATED":    instance.Created,
	"RUNNING":    instance.Running,
	"ACTIVE":     instance.Running,
	"COMPLETED":  instance.Completed,
	"DEAD":       instance.Dead,
	"FAILED":     instance.Failed,
	"UNDEPLOYED": instance.Undeployed,
}

// alreadyDeployed ends what original engines say of a second deploy ("Service
// already deployed", from v0.4.410 on "task already deployed"); the word is
// FAILED, yet the first one runs on.
const alreadyDeployed = " already deployed"

// exited begins what engines up to v0.4.402 say of a container that ended by
// itself; the code follows. They say it with DEAD, and with COMPLETED if they
// know one-shots.
const exited = "Container exited with status: "

func exitCode(state instance.State, detail string) (code int32, said bool) {
	text, ok := strings.CutPrefix(detail, exited)
	n, err := strconv.ParseUint(text, 10, 32)
	if !ok || err != nil || strconv.FormatUint(n, 10) != text || state != instance.Dead && state != instance.Completed {
		return 0, false
	}
	return int32(uint32(n)), true
}

func decodeJob(payload []byte) (nodelink.Inbound, error) {
	w, err := read[mqtt.Job](payload)
	if err != nil {
		return nodelink.Inbound{}, err
	}
	if err := checkSlot(w.ServiceID, w.Name, w.Instance); err != nil {
		return nodelink.Inbound{}, err
	}
	state, ok := states[w.Status]
	if !ok {
		return nodelink.Inbound{}, fmt.Errorf("status %q", w.Status)
	}
	original := w.ServiceID == "" && w.Grant == 0
	if original && state == instance.Failed && strings.HasSuffix(w.StatusDetail, alreadyDeployed) {
		return nodelink.Inbound{Change: &nodelink.StateChange{
			JobName: w.Name, Number: w.Instance, Word: w.Status, PublicIP: w.PublicIP, Original: true, Present: true,
		}}, nil
	}
	code, said := w.ExitCode, false
	if original {
		code, said = exitCode(state, w.StatusDetail)
	}
	return nodelink.Inbound{Change: &nodelink.StateChange{
		Service: model.ServiceID(w.ServiceID), JobName: w.Name, Number: w.Instance,
		Observed: instance.Observed{
			Epoch: instance.Epoch{Grant: instance.Grant(w.Grant), Try: w.Try},
			State: state, Seq: w.StateSeq, Reason: w.StatusDetail, Exit: code,
		},
		Word: w.Status, PublicIP: w.PublicIP, Original: original, Exited: said,
	}}, nil
}
