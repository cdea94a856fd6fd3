package cluster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// launcher writes its process id beside itself and becomes the program of its own name in bin/. It is a script, not Go code
// around exec, because envtest starts etcd and kube-apiserver itself and does not return their ids.
const launcher = `#!/bin/sh
echo $$ >"$0.pid"
exec "${0%/*}/bin/${0##*/}" "$@"
`

// guardian waits until its standard input ends, which the kernel ensures however this process exits, and then kills every
// process whose id is still recorded. A stopped process has its record removed first.
const guardian = `trap "" HUP INT TERM
cat >/dev/null
for f in "$0"/*.pid; do [ -f "$f" ] && kill -KILL "$(cat "$f")" 2>/dev/null; done`

// leash ties child processes to this one: when this process exits, killed or not, they exit. Parent-death signals would work on
// Linux alone, and there only as long as the thread that started the child lives.
type leash struct {
	dir      string
	guardian *exec.Cmd
	hold     io.Closer
}

// newLeash starts the guardian of the processes that will be recorded in dir.
func newLeash(dir string) (*leash, error) {
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of process ids: %w", err)
	}
	cmd := exec.Command("/bin/sh", "-c", guardian, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C at the terminal must not reach the guardian
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the guardian of processes: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the guardian of processes: %w", err)
	}
	return &leash{dir: dir, guardian: cmd, hold: hold}, nil
}

// program returns the path that starts the given binary and records its process id.
func (l *leash) program(binary string) (string, error) {
	name := filepath.Base(binary)
	link, path := filepath.Join(l.dir, "bin", name), filepath.Join(l.dir, name)
	if err := os.Symlink(binary, link); errors.Is(err, fs.ErrExist) {
		return path, nil
	} else if err != nil {
		return "", fmt.Errorf("link %s: %w", binary, err)
	}
	if err := writeProgram(path, launcher); err != nil {
		return "", errors.Join(fmt.Errorf("write the launcher of %s: %w", name, err), os.Remove(link))
	}
	return path, nil
}

// writeProgram writes an executable script. While it is open for writing no other goroutine forks: the child would have it open
// for a moment longer, and a file that is open for writing cannot be executed (ETXTBSY of execve(2)).
func writeProgram(path, content string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, []byte(content), 0o755)
}

// pid returns the process id of a running program.
func (l *leash) pid(name string) (int, error) { return readPid(filepath.Join(l.dir, name+".pid")) }

// forget removes the record of a program that has exited.
func (l *leash) forget(name string) {
	_ = os.Remove(filepath.Join(l.dir, name+".pid"))
}

// release ends the guardian. It kills the processes that were not stopped before.
func (l *leash) release() error {
	if err := l.hold.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("release the guardian of processes: %w", err)
	}
	if err := l.guardian.Wait(); err != nil && l.guardian.ProcessState == nil {
		return fmt.Errorf("wait for the guardian of processes: %w", err)
	}
	return nil
}

// Recorded returns the ids of the processes that were started under dir and not stopped, alive or not.
func Recorded(dir string) ([]int, error) {
	run := filepath.Join(dir, "run")
	entries, err := os.ReadDir(run)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the process ids under %s: %w", dir, err)
	}
	var pids []int
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".pid" {
			continue
		}
		pid, err := readPid(filepath.Join(run, entry.Name()))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

func readPid(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read a process id: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s holds no process id: %w", path, err)
	}
	return pid, nil
}
