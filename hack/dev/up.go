package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// The supervisor writes its progress to `up`, one line a step, and one of these lines at the end.
const (
	readyLine    = "ready"
	failedPrefix = "failed: "
)

// up starts a supervisor in the background and returns when Tagger works.
func up(ctx context.Context, root string, out io.Writer) error {
	h := homeOf(root)
	if err := os.MkdirAll(string(h), 0o755); err != nil {
		return fmt.Errorf("make .dev: %w", err)
	}
	lock, err := h.lock()
	if errors.Is(err, errHeld) {
		return fmt.Errorf("dev-up: Tagger is already running in %s; `make dev-down` stops it", h)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := clearRemains(ctx, h); err != nil {
		return err
	}
	err = launch(ctx, root, h, lock, out)
	if ctx.Err() != nil {
		return errors.Join(errors.New("dev-up was interrupted"), h.remove())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("dev-up failed: %w\nThe logs are in %s", err, h.path("logs")), h.empty("logs"))
	}
	fmt.Fprintf(out, "Tagger is running. To use it:\n  set -a; . %s; set +a\n`make dev-down` stops it.\n",
		quote(h.path("env")))
	return nil
}

// launch runs the supervisor in a session of its own and reads its progress until it is ready. The supervisor inherits the
// lock, so that the lock is held at every moment.
func launch(ctx context.Context, root string, h home, lock *os.File, out io.Writer) error {
	report, status, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	defer report.Close()
	cmd, err := supervisorCommand(root, h, lock, status)
	if err != nil {
		return errors.Join(err, status.Close())
	}
	err = cmd.Start()
	_ = status.Close() // the supervisor has it; an open copy would keep the pipe open
	if err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	if err := listen(report, out); err != nil {
		_ = cmd.Wait() // it stops everything
		return err
	}
	return nil
}

func supervisorCommand(root string, h home, lock, status *os.File) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if err := os.MkdirAll(h.path("logs"), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of logs: %w", err)
	}
	log, err := os.Create(filepath.Join(h.path("logs"), "dev.log"))
	if err != nil {
		return nil, fmt.Errorf("open the supervisor's log: %w", err)
	}
	cmd := exec.Command(self, serveCommand)
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, log, log
	cmd.ExtraFiles = []*os.File{lock, status} // lockDescriptor, statusDescriptor
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, nil
}

// listen prints the supervisor's progress until it is ready, or returns its error.
func listen(report io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(report)
	for lines.Scan() {
		line := lines.Text()
		if line == readyLine {
			return nil
		}
		if reason, failed := strings.CutPrefix(line, failedPrefix); failed {
			return errors.New(reason)
		}
		fmt.Fprintln(out, "dev-up:", line)
	}
	return errors.New("the supervisor exited without an error message")
}
