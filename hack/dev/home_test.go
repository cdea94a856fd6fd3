package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestLockIsHeldOnce(t *testing.T) {
	h := home(t.TempDir())
	lock, err := h.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.lock(); !errors.Is(err, errHeld) {
		t.Errorf("a second lock: %v, want that it is held", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := h.lock()
	if err != nil {
		t.Errorf("after the first is let go: %v", err)
	}
	again.Close()
}

// A process with a recorded id is killed only if it was started from the folder: the kernel reuses ids.
func TestOnlyOurProcessesAreKilled(t *testing.T) {
	ours := filepath.Join(t.TempDir(), "it has a space")
	if err := os.Mkdir(ours, 0o755); err != nil {
		t.Fatal(err)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(ours, "sleep")
	if err := os.Symlink(sleep, link); err != nil {
		t.Fatal(err)
	}
	mine, others := sleeping(t, link), sleeping(t, sleep)
	for _, process := range []*exec.Cmd{mine, others} {
		if err := killIfOurs(t.Context(), process.Process.Pid, ours); err != nil {
			t.Error(err)
		}
	}
	if err := mine.Wait(); err == nil {
		t.Error("our process was not killed")
	}
	if err := others.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another's process: %v, want it alive", err)
	}
}

func sleeping(t *testing.T, program string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}
