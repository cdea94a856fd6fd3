package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// readyTimeout is generous: on a busy machine with two cores the control plane takes a while.
	readyTimeout = 2 * time.Minute
	stopTimeout  = 30 * time.Second
	pollInterval = 50 * time.Millisecond
)

// process is a running child process whose output goes to a file.
type process struct {
	name  string
	log   string
	leash *leash
	cmd   *exec.Cmd
	done  chan struct{} // closed when the process exits
}

// command describes a program to start.
type command struct {
	binary string
	args   []string
	env    []string // the whole environment
	log    string
}

// start starts a process on the leash. The process has its own process group: a Ctrl-C at the terminal reaches only this
// process, which then stops the others in order.
func (l *leash) start(c command) (*process, error) {
	name := filepath.Base(c.binary)
	path, err := l.program(c.binary)
	if err != nil {
		return nil, err
	}
	log, err := openLog(c.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(path, c.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, log: c.log, leash: l, cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // cmd.ProcessState has the result
		l.forget(name)
		close(p.done)
	}()
	return p, nil
}

// stop stops the process with SIGTERM, and with SIGKILL after stopTimeout.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has exited
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	return fmt.Errorf("%s did not stop within %s and was killed; see %s", p.name, stopTimeout, p.log)
}

// end is stop for a process that must exit with code 0. A process that exited before is an error, too.
func (p *process) end() error {
	gone := p.exited() != nil
	if err := p.stop(); err != nil || gone {
		return err
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s was told to stop and ended with %s; see %s", p.name, p.cmd.ProcessState, p.log)
	}
	return nil
}

// exited returns an error if the process has exited.
func (p *process) exited() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself (%s); see %s", p.name, p.cmd.ProcessState, p.log)
	default:
		return nil
	}
}

// await polls until ready returns true. It gives up at once if exited returns an error, since the process has exited, and after
// readyTimeout otherwise. It retries errors of ready, and reports the last one.
func await(ctx context.Context, what string, exited func() error, ready func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, pollInterval, readyTimeout, true, func(ctx context.Context) (bool, error) {
		if err := exited(); err != nil {
			last = nil // a missing response adds nothing
			return false, err
		}
		last = ready(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", what, errors.Join(err, last))
	}
	return nil
}

// never is the argument of await if no child process is involved.
func never() error { return nil }

// openLog opens a log file for appending, its folder included.
func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of logs: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open a log: %w", err)
	}
	return file, nil
}

// bareEnvironment returns an environment without the caller's configuration: without the home directory, where kwok would look
// for its own, and without REGISTRY_ADDRESS, which the registry would take for a setting.
func bareEnvironment(home string, more ...string) []string {
	return append([]string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, more...)
}
