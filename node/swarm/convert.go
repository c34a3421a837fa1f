package swarm

import (
	"encoding/json"
	"strconv"
	"time"

	"oakestra/api/mqtt"
)

// registration is what a worker says of itself.
func (w *worker) registration() mqtt.Register {
	cfg := w.swarm.cfg
	r := mqtt.Register{
		Host: w.name, IP: w.local.String(), Port: "3000",
		SystemInfo: map[string]string{"architecture": "x86_64", "kernel_version": "6.1", "os_version": "linux", "uptime": "1000"},
		CPU:        0.1, FreeCores: int(cfg.MilliCPU / 1000), Memory: 10, MemoryFreeInMB: cfg.MemoryMB * 9 / 10,
		DiskInfo: map[string]string{"/": "25"}, NetworkInfo: map[string]string{}, GPUInfo: map[string]string{},
		Technology: []string{"docker"},
	}
	if !cfg.Original {
		r.Architecture, r.NodeKey, r.Boot, r.Version = "amd64", w.key, w.boot, "simulated"
		r.MemoryMB, r.DiskMB, r.MilliCPU = cfg.MemoryMB, 100_000, cfg.MilliCPU
	}
	return r
}

// message is one thing to publish.
type message struct {
	suffix string
	body   any
}

// reports are what a worker says every 2 s: ours one message, originals two.
func (w *worker) reports(now time.Time) []message {
	w.seq++
	info := mqtt.Information{
		CPU: 0.1 + float64(w.seq%50)/100, FreeCores: int(w.swarm.cfg.MilliCPU / 1000), Memory: 10 + float64(w.seq%100)/10,
		MemoryFreeInMB: w.swarm.cfg.MemoryMB * 9 / 10,
	}
	if w.swarm.cfg.Original {
		list := mqtt.Resources{Services: []mqtt.ServiceReport{}}
		for _, c := range w.sorted() {
			if c.state == "RUNNING" {
				list.Services = append(list.Services, w.serviceReport(c, now))
			}
		}
		return []message{{mqtt.UpInformation, info}, {mqtt.UpResources, list}}
	}
	info.Boot, info.Seq, info.CPUPercent, info.Combined = w.boot, w.seq, float64(w.seq%1000)/10, true
	info.Services = make([]mqtt.ServiceReport, 0, len(w.held))
	for _, c := range w.sorted() {
		info.Services = append(info.Services, w.serviceReport(c, now))
	}
	return []message{{mqtt.UpInformation, info}}
}

func (w *worker) serviceReport(c *container, now time.Time) mqtt.ServiceReport {
	out := mqtt.ServiceReport{
		JobName: c.job, Instance: c.number, Virtualization: c.technology,
		CPU:    strconv.FormatFloat(float64(w.seq%1000)/10, 'f', 6, 64),
		Memory: "1048576.000000", Disk: strconv.FormatInt(now.UnixMilli(), 10),
	}
	if !w.swarm.cfg.Original {
		out.ServiceID, out.Grant, out.Try, out.State, out.StateSeq = c.service, c.grant, c.try, c.state, c.seq
	}
	return out
}

// job is the edge of a container's state.
func (w *worker) job(c *container) mqtt.Job {
	j := mqtt.Job{Name: c.job, Status: c.state, Instance: c.number, PublicIP: w.local.String()}
	if w.swarm.cfg.Original {
		if j.Status == "RUNNING" {
			j.Status = "ACTIVE"
		}
		return j
	}
	j.ServiceID, j.Grant, j.Try, j.StateSeq, j.Boot = c.service, c.grant, c.try, c.seq, w.boot
	return j
}

// command carries out what the cluster sent. It returns what to tell at once;
// probed says that a report is wanted.
func (w *worker) command(suffix string, payload []byte) (jobs []mqtt.Job, probed bool, err error) {
	switch suffix {
	case mqtt.DownDeploy:
		var d mqtt.Deploy
		if err := json.Unmarshal(payload, &d); err != nil {
			return nil, false, err
		}
		w.swarm.deployed(time.Now())
		return w.deploy(d), false, nil
	case mqtt.DownDelete:
		var d mqtt.Delete
		if err := json.Unmarshal(payload, &d); err != nil {
			return nil, false, err
		}
		w.swarm.count.deletes.Add(1)
		return w.delete(d), false, nil
	}
	return nil, suffix == mqtt.DownProbe && !w.swarm.cfg.Original, nil
}
