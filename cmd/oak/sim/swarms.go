package sim

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"oakestra/node/swarm"
	"oakestra/pkg/errs"
)

// WorkersCommand is the word after "oak sim" that makes the program one swarm
// of workers; its configuration and its commands come on standard input.
const WorkersCommand = "workers"

// RunWorkers is the swarm's side of that.
func RunWorkers(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("configuration: %w: %w", err, errs.Invalid)
	}
	var cfg swarm.Config
	if err := json.Unmarshal(first, &cfg); err != nil {
		return fmt.Errorf("configuration: %w: %w", err, errs.Invalid)
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	s := swarm.New(cfg)
	ctx, cancel := context.WithCancel(ctx)
	var run sync.WaitGroup
	run.Go(func() { _ = s.Run(ctx) })
	err = s.Serve(ctx, lines, out)
	cancel()
	run.Wait()
	return err
}

// swarms are all simulated workers, in as many processes as they need.
type swarms struct {
	mu  sync.Mutex
	all []*child
}

type child struct {
	in    io.WriteCloser
	lines *bufio.Scanner
	ended chan struct{}
	log   string
	pid   int
}

// perProcess is how many workers fit into one process: each holds one
// connection, and a second while it registers.
func perProcess(limit int) int { return max(1, min(10_000, limit-1000)) }

func startSwarms(s Scenario, v *site, self string, limit int) (*swarms, error) {
	out := &swarms{}
	for first := 0; first < s.Workers; first += perProcess(limit) {
		cfg := swarm.Config{
			First: first, Count: min(perProcess(limit), s.Workers-first), Original: s.Agent == "original",
			StartFor: time.Duration(s.StartMS) * time.Millisecond, MilliCPU: s.MilliCPU, MemoryMB: s.MemoryMB,
		}
		for _, m := range v.managers {
			cfg.Managers = append(cfg.Managers, m.address)
		}
		c, err := startChild(self, filepath.Join(v.dir, fmt.Sprintf("workers-%d.log", first)), cfg)
		if err != nil {
			out.stop()
			return nil, err
		}
		out.all = append(out.all, c)
	}
	return out, nil
}

func startChild(self, log string, cfg swarm.Config) (*child, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "sim", WorkersCommand)
	cmd.Env, cmd.Stderr = cleanEnv(), file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c := &child{in: in, lines: bufio.NewScanner(answers), ended: make(chan struct{}), log: log}
	c.lines.Buffer(nil, 256<<20)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for Pdeathsig
		defer runtime.UnlockOSThread()
		defer file.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // who asks next is told by the pipe
			close(c.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start workers: %w", err)
	}
	c.pid = cmd.Process.Pid
	return c, json.NewEncoder(in).Encode(cfg)
}

func (c *child) ask(cmd swarm.Command) (swarm.Answer, error) {
	var a swarm.Answer
	if err := json.NewEncoder(c.in).Encode(cmd); err != nil {
		return a, fmt.Errorf("workers: %w: %w\n%s", err, errs.Unavailable, tail(c.log, 5))
	}
	if !c.lines.Scan() {
		return a, fmt.Errorf("workers ended: %w\n%s", errs.Unavailable, tail(c.log, 5))
	}
	err := json.Unmarshal(c.lines.Bytes(), &a)
	if err == nil && a.Error != "" {
		err = fmt.Errorf("workers: %s: %w", a.Error, errs.Invalid)
	}
	return a, err
}

// ask sends a command to every process and adds up the answers.
func (s *swarms) ask(cmd swarm.Command) (swarm.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out swarm.Answer
	if cmd.Full {
		out.Status.Running = map[string]int{}
	}
	for _, c := range s.all {
		a, err := c.ask(cmd)
		if err != nil {
			return out, err
		}
		out.Count += a.Count
		add(&out.Status, a.Status)
	}
	return out, nil
}

func add(to *swarm.Status, s swarm.Status) {
	to.On += s.On
	to.Cut += s.Cut
	to.Connected += s.Connected
	to.Registered += s.Registered
	to.Sessions += s.Sessions
	to.Published += s.Published
	to.Received += s.Received
	to.Deploys += s.Deploys
	to.Deletes += s.Deletes
	to.Errors += s.Errors
	to.MarkDeploys += s.MarkDeploys
	to.Containers += s.Containers
	to.LateMS = max(to.LateMS, s.LateMS)
	to.LastDeploy = max(to.LastDeploy, s.LastDeploy)
	if s.FirstDeploy != 0 && (to.FirstDeploy == 0 || s.FirstDeploy < to.FirstDeploy) {
		to.FirstDeploy = s.FirstDeploy
	}
	if s.LastError != "" {
		to.LastError = s.LastError
	}
	for k, n := range s.Running {
		to.Running[k] += n
	}
}

// cpu is what simulating itself costs: it shares the machine.
func (s *swarms) cpu() (seconds float64) {
	for _, c := range s.all {
		seconds += cpuSeconds(c.pid)
	}
	return seconds
}

// stop ends the processes: their input ends.
func (s *swarms) stop() {
	for _, c := range s.all {
		_ = c.in.Close()
	}
	for _, c := range s.all {
		select {
		case <-c.ended:
		case <-time.After(10 * time.Second):
			_ = syscall.Kill(c.pid, syscall.SIGKILL)
			<-c.ended
		}
	}
}

// load is the machine's load, as text.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(data))[:3], " ")
}
