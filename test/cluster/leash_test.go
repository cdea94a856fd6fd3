package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// helperDir, when set, makes this test binary a process that has a child on a leash and waits to be killed.
const helperDir = "LEASH_HELPER_DIR"

func TestChildEndsWhenItsParentIsKilled(t *testing.T) {
	if dir := os.Getenv(helperDir); dir != "" {
		beParent(t, dir)
	}
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	parent.Env = append(os.Environ(), helperDir+"="+t.TempDir())
	pipe, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	output := bufio.NewReader(pipe)
	if line, err := output.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the parent says %q (%v), want that it is ready", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Parent and child hold the pipe's other end. It ends when both have exited, even if no process reaps the child, which has
	// lost its parent.
	timer := time.AfterFunc(10*time.Second, func() { _ = pipe.Close() })
	if _, err := io.Copy(io.Discard, output); err != nil || !timer.Stop() {
		t.Errorf("the child outlives its parent: %v", err)
	}
	_ = parent.Wait() // the error of a killed process
}

// beParent starts a child on a leash that has this process's standard output, reports that it is ready, and waits.
func beParent(t *testing.T, dir string) {
	leash, err := newLeash(filepath.Join(dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	child, err := leash.start(command{binary: sleep, args: []string{"600"}, log: "/dev/stdout"})
	if err != nil {
		t.Fatal(err)
	}
	err = await(t.Context(), "the process id to be recorded", never, func(context.Context) error {
		_, err := os.Stat(filepath.Join(dir, "run", "sleep.pid"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdout.WriteString("ready\n")
	<-child.done
}

// TestProgramsStartWhileOthersAreStarted: a fork has copies of open files for a moment, and a file that is open for writing
// cannot be executed.
func TestProgramsStartWhileOthersAreStarted(t *testing.T) {
	program, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	for lane := range 8 {
		group.Go(func() error {
			for n := range 20 {
				dir := filepath.Join(t.TempDir(), fmt.Sprint(lane, "-", n))
				leash, err := newLeash(dir)
				if err != nil {
					return err
				}
				child, err := leash.start(command{binary: program, log: filepath.Join(dir, "log")})
				if err != nil {
					return errors.Join(err, leash.release())
				}
				<-child.done
				if err := leash.release(); err != nil || !child.cmd.ProcessState.Success() {
					return errors.Join(err, child.exited())
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
