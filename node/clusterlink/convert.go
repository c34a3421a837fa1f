package clusterlink

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"oakestra/api/mqtt"
	"oakestra/node/runner"
	"oakestra/node/runtime"
	"oakestra/node/telemetry"
	"oakestra/pkg/core/instance"
	"oakestra/pkg/core/model"
	"oakestra/pkg/errs"
	"oakestra/pkg/version"
)

// technology is how the wire calls containers.
const technology = "docker"

func register(c Config, i Identity, boot string, f telemetry.Facts, l telemetry.Load) mqtt.Register {
	host := c.Name
	if host == "" {
		host = f.Host
	}
	milli := int64(c.VCPUs) * 1000
	cores := c.VCPUs
	if cores == 0 {
		cores, milli = f.Cores, int64(f.Cores)*1000
	}
	return mqtt.Register{
		ID: i.ID, Host: host, Port: "3000",
		SystemInfo: map[string]string{"architecture": unameArch(f.Architecture), "kernel_version": f.Kernel,
			"os_version": "linux", "uptime": strconv.FormatInt(l.UptimeSeconds, 10)},
		CPU: l.Load5, FreeCores: cores, Memory: l.MemoryPercent, MemoryFreeInMB: l.MemoryFreeMB,
		DiskInfo:    map[string]string{"/": strconv.Itoa(int(l.DiskPercent))},
		NetworkInfo: map[string]string{}, GPUInfo: map[string]string{}, GPUCores: len(f.GPUs),
		Technology: []string{technology}, Overlay: c.NetPort != 0, NetManagerPort: c.NetPort,
		Architecture: f.Architecture,
		NodeKey:      i.Key, Boot: boot, Version: version.Version,
		MemoryMB: f.MemoryMB, DiskMB: f.DiskMB, MilliCPU: milli, Abilities: c.Abilities,
	}
}

func unameArch(goarch string) string {
	switch goarch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "arm":
		return "armv7l"
	}
	return goarch
}

func information(boot string, seq uint64, l telemetry.Load, cores int, combined bool, records []runner.Record) mqtt.Information {
	out := mqtt.Information{CPU: l.Load5, FreeCores: cores, Memory: l.MemoryPercent, MemoryFreeInMB: l.MemoryFreeMB,
		Boot: boot, Seq: seq, CPUPercent: l.CPUPercent, Combined: combined}
	if combined {
		out.Services = make([]mqtt.ServiceReport, 0, len(records))
		for _, r := range records {
			out.Services = append(out.Services, serviceReport(r, true))
		}
	}
	return out
}

// resources is the original's list: what runs, nothing else.
func resources(records []runner.Record) mqtt.Resources {
	out := mqtt.Resources{Services: []mqtt.ServiceReport{}}
	for _, r := range records {
		if r.State == instance.Running {
			out.Services = append(out.Services, serviceReport(r, false))
		}
	}
	return out
}

func serviceReport(r runner.Record, ours bool) mqtt.ServiceReport {
	out := mqtt.ServiceReport{
		JobName: r.Spec.JobName, Instance: r.Spec.Number, Virtualization: technologyOf(r.Spec),
		CPU:    strconv.FormatFloat(r.CPU, 'f', 6, 64),
		Memory: strconv.FormatFloat(float64(r.Usage.MemoryBytes), 'f', 6, 64),
		Disk:   strconv.FormatInt(r.Usage.DiskBytes, 10), Logs: r.Usage.LogTail,
	}
	if !ours {
		return out
	}
	out.ServiceID, out.Grant, out.Try = string(r.Spec.Service), uint64(r.Spec.Grant), r.Spec.Try
	out.State, out.StateSeq, out.Reason, out.ExitCode = runner.Word(r.State), r.Seq, r.Reason, r.Exit
	out.NamespaceIP, out.Pid, out.Restarting = r.Address, r.Pid, r.Restarting
	return out
}

func technologyOf(s runtime.Spec) string {
	if s.Technology == "" {
		return technology
	}
	return s.Technology
}

// job is the edge of a state change. An original cluster manager knows ACTIVE
// for what runs, and nothing for what is being made.
func job(r runner.Record, boot, address string, original bool) (mqtt.Job, bool) {
	word := runner.Word(r.State)
	if original {
		switch r.State {
		case instance.Unknown, instance.Creating, instance.Created:
			return mqtt.Job{}, false
		case instance.Running:
			word = "ACTIVE"
		case instance.Completed, instance.Dead, instance.Failed, instance.Undeployed:
		}
	}
	return mqtt.Job{
		Name: r.Spec.JobName, Status: word, StatusDetail: r.Reason, Instance: r.Spec.Number, PublicIP: address,
		ServiceID: string(r.Spec.Service), Grant: uint64(r.Spec.Grant), Try: r.Spec.Try,
		StateSeq: r.Seq, ExitCode: r.Exit, Boot: boot,
	}, true
}

// decodeDeploy reads an order. With errs.Invalid the spec still says which
// attempt was meant, if that can be told; else its service is "".
func decodeDeploy(node string, payload []byte) (runtime.Spec, error) {
	var w mqtt.Deploy
	if err := json.Unmarshal(payload, &w); err != nil {
		return runtime.Spec{}, fmt.Errorf("deploy: %w: %w", err, errs.Invalid)
	}
	for _, c := range w.ID {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return runtime.Spec{}, fmt.Errorf("service id %q: %w", w.ID, errs.Invalid)
		}
	}
	if w.ID == "" || w.JobName == "" || w.Image == "" || w.InstanceNumber < 0 {
		return runtime.Spec{Node: node, Service: model.ServiceID(w.ID), Number: w.InstanceNumber, Grant: instance.Grant(w.Grant), Try: w.Try, JobName: w.JobName},
			fmt.Errorf("deploy without _id, job_name or image: %w", errs.Invalid)
	}
	milli := w.MilliCPU
	if milli == 0 {
		milli = int64(w.VCPUs) * 1000
	}
	return runtime.Spec{
		Node: node, Service: model.ServiceID(w.ID), Number: w.InstanceNumber, Grant: instance.Grant(w.Grant), Try: w.Try,
		JobName: w.JobName, Technology: w.Virtualization, Image: w.Image, Command: w.Command, Environment: w.Environment,
		MilliCPU: max(milli, 0), MemoryMB: int64(max(w.Memory, 0)), GPUs: int64(w.VGPUs), OneShot: w.OneShot,
		Ports: w.Port, InstanceIP: w.InstanceIP, ServiceIP: w.ServiceIP, Tenant: w.Tenant,
	}, nil
}

func decodeDelete(payload []byte) (runner.Target, time.Duration, error) {
	var w mqtt.Delete
	if err := json.Unmarshal(payload, &w); err != nil {
		return runner.Target{}, 0, fmt.Errorf("delete: %w: %w", err, errs.Invalid)
	}
	if w.ServiceID == "" && w.JobName == "" {
		return runner.Target{}, 0, fmt.Errorf("delete without a service: %w", errs.Invalid)
	}
	return runner.Target{Service: w.ServiceID, JobName: w.JobName, Number: w.InstanceNumber,
		Epoch: instance.Epoch{Grant: instance.Grant(w.Grant), Try: w.Try}}, time.Duration(w.GraceMS) * time.Millisecond, nil
}

// decodeSession takes an order to dial; its id becomes a part of a path.
func decodeSession(payload []byte) (mqtt.Session, error) {
	var w mqtt.Session
	if err := json.Unmarshal(payload, &w); err != nil {
		return w, fmt.Errorf("session: %w: %w", err, errs.Invalid)
	}
	plain := strings.Trim(w.ID, "0123456789abcdef") == ""
	if !plain || w.ID == "" || w.ServiceID == "" {
		return w, fmt.Errorf("session %q of service %q: %w", w.ID, w.ServiceID, errs.Invalid)
	}
	return w, nil
}
