package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// home is .dev of a working copy. The supervisor holds its lock for its whole life, and the locked file contains the
// supervisor's process id.
type home string

func homeOf(root string) home { return home(filepath.Join(root, ".dev")) }

func (h home) path(name string) string { return filepath.Join(string(h), name) }

// errHeld means that a supervisor is running.
var errHeld = errors.New("held by a running supervisor")

// lock takes the lock, or returns errHeld. The lock lasts until the last process with the file closes it.
func (h home) lock() (*os.File, error) {
	file, err := os.OpenFile(h.path("supervisor.pid"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock of .dev: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errHeld
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", file.Name(), err), file.Close())
	}
	return file, nil
}

// supervisor returns the process id of the supervisor.
func (h home) supervisor() (int, error) {
	text, err := os.ReadFile(h.path("supervisor.pid"))
	if err != nil {
		return 0, fmt.Errorf("read the supervisor's process id: %w", err)
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil {
		return 0, fmt.Errorf("%s does not contain a process id: %w", h.path("supervisor.pid"), err)
	}
	return pid, nil
}

// empty removes everything but the lock, which the caller holds, and the named files.
func (h home) empty(keep ...string) error {
	entries, err := os.ReadDir(string(h))
	if err != nil {
		return fmt.Errorf("clear .dev: %w", err)
	}
	kept := " supervisor.pid " + strings.Join(keep, " ") + " "
	var errs []error
	for _, entry := range entries {
		if !strings.Contains(kept, " "+entry.Name()+" ") {
			errs = append(errs, os.RemoveAll(h.path(entry.Name())))
		}
	}
	return errors.Join(errs...)
}

// remove removes .dev.
func (h home) remove() error {
	if err := os.RemoveAll(string(h)); err != nil {
		return fmt.Errorf("remove .dev: %w", err)
	}
	return nil
}

func (h home) exists() bool {
	_, err := os.Stat(string(h))
	return !errors.Is(err, fs.ErrNotExist)
}
