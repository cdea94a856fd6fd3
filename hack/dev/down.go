package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/images-io/tagger/test/cluster"
)

// endTimeout is how long the supervisor may take to stop everything in order.
const endTimeout = 90 * time.Second

// down stops everything that `up` started, and removes .dev. It succeeds if nothing runs.
func down(ctx context.Context, root string, out io.Writer) error {
	h := homeOf(root)
	if !h.exists() {
		fmt.Fprintln(out, "nothing is running")
		return nil
	}
	lock, err := h.lock()
	if errors.Is(err, errHeld) {
		lock, err = end(ctx, h, out)
	} else if err == nil {
		fmt.Fprintln(out, "nothing is running")
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := clearRemains(ctx, h); err != nil {
		return err
	}
	return h.remove()
}

// end stops the supervisor and returns the lock that it held.
func end(ctx context.Context, h home, out io.Writer) (*os.File, error) {
	pid, err := h.supervisor()
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(out, "stopping Tagger, the control plane and the registries")
	_ = syscall.Kill(pid, syscall.SIGTERM) // fails only if it has exited
	lock, err := await(ctx, h, endTimeout)
	if err == nil || ctx.Err() != nil {
		return lock, err
	}
	fmt.Fprintf(out, "the supervisor, process %d, does not exit, killing it\n", pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	return await(ctx, h, endTimeout)
}

// await takes the lock as soon as the supervisor releases it.
func await(ctx context.Context, h home, timeout time.Duration) (lock *os.File, err error) {
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, timeout, true, func(context.Context) (bool, error) {
		lock, err = h.lock()
		if errors.Is(err, errHeld) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the supervisor to exit: %w", err)
	}
	return lock, nil
}

// clearRemains kills the processes that a killed supervisor left, and removes its files. Processes on a leash exit with it,
// unless the leash's guardian was killed, too.
func clearRemains(ctx context.Context, h home) error {
	for _, dir := range []string{".", "registry", "cache-registry", "manager"} {
		pids, err := cluster.Recorded(h.path(dir))
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if err := killIfOurs(ctx, pid, string(h)); err != nil {
				return err
			}
		}
	}
	return h.empty()
}

// killIfOurs kills a process that was started from a path under dir, and waits for its end. Another process may have the
// recorded id by now; killIfOurs does not touch it.
func killIfOurs(ctx context.Context, pid int, dir string) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		if !strings.HasPrefix(commandLine(ctx, pid), dir+string(filepath.Separator)) {
			return true, nil
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return nil
}

// commandLine returns the command line of a process, or nothing if the process does not exist or is a zombie.
func commandLine(ctx context.Context, pid int) string {
	if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		return string(line)
	}
	line, _ := exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", fmt.Sprint(pid)).Output()
	return string(bytes.TrimSpace(line))
}
