package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Child is one program to keep running.
type Child struct {
	Name string
	Path string
	Args []string
	Env  []string // added to the environment of this process
	Log  string   // file that takes stdout and stderr, appended
	// Pid is the file that names the running process while there is one.
	Pid string
	// Ready, when set, is waited for before the next child starts.
	Ready func(context.Context) error
}

// Options of Run. Zero values take the defaults.
type Options struct {
	Grace    time.Duration // TERM to KILL; 10 s
	MinPause time.Duration // before the first restart; 500 ms
	MaxPause time.Duration // 15 s
	Healthy  time.Duration // running this long resets the pause; 30 s
	LogLimit int64         // bytes of a child's log before it is set aside as .1; 16 MiB
}

func (o Options) withDefaults() Options {
	set := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.Grace, 10*time.Second)
	set(&o.MinPause, 500*time.Millisecond)
	set(&o.MaxPause, 15*time.Second)
	set(&o.Healthy, 30*time.Second)
	if o.LogLimit == 0 {
		o.LogLimit = 16 << 20
	}
	return o
}

// Run starts the children in order and keeps them running until ctx ends; then
// it stops them in reverse order and returns nil. It returns an error only
// when the first start of a child fails (its program is missing, say). A later
// one that fails is tried again: the disk may be full, or the program about to
// be replaced, and the other children have nothing to do with it.
func Run(ctx context.Context, logger *slog.Logger, children []Child, opts Options) error {
	opts = opts.withDefaults()
	var stops []func()
	defer func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}()
	failed := make(chan error, len(children))
	for _, c := range children {
		if _, err := exec.LookPath(c.Path); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		childCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		var done sync.WaitGroup
		done.Go(func() {
			if err := keep(childCtx, logger.With("child", c.Name), c, opts); err != nil {
				failed <- fmt.Errorf("%s: %w", c.Name, err)
			}
		})
		stops = append(stops, func() { cancel(); done.Wait() })
		if c.Ready == nil {
			continue
		}
		if err := c.Ready(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			logger.Warn("not ready yet, going on", "child", c.Name, "error", err)
		}
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// keep runs one child again and again. The goroutine stays on its thread:
// the kernel sends Pdeathsig when the thread that started the child ends, and
// the signal is there so that no child outlives a killed supervisor.
func keep(ctx context.Context, logger *slog.Logger, c Child, opts Options) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pause := opts.MinPause
	ran := false
	for ctx.Err() == nil {
		began := time.Now()
		started, err := once(ctx, c, opts)
		if ctx.Err() != nil {
			return nil
		}
		if ran = ran || started; !ran {
			return err
		}
		if time.Since(began) > opts.Healthy {
			pause = opts.MinPause
		}
		what := "ended, will be started again"
		if !started {
			what = "not started, will be tried again"
		}
		logger.Warn(what, "error", err, "pause", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(pause*2, opts.MaxPause)
	}
	return nil
}

// once runs the child until it ends. started says whether it ran at all.
func once(ctx context.Context, c Child, opts Options) (started bool, err error) {
	out, err := openLog(c.Log, opts.LogLimit)
	if err != nil {
		return false, err
	}
	defer out.Close()
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	// A group of its own: Ctrl-C at the terminal reaches the supervisor only,
	// which then stops the children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	if c.Pid != "" {
		if p, err := Find(cmd.Process.Pid); err == nil {
			if err := p.Save(c.Pid); err != nil {
				return false, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
			}
			defer os.Remove(c.Pid)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			return true, errors.New("exit status 0")
		}
		return true, err
	case <-ctx.Done():
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		return true, err
	case <-time.After(opts.Grace):
	}
	_ = cmd.Process.Kill()
	return true, <-ended
}

func openLog(file string, limit int64) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	if info, err := os.Stat(file); err == nil && info.Size() > limit {
		if err := os.Rename(file, file+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
}
