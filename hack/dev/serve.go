package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// serveCommand is the argument with which `up` starts this program in the background. It is not for users.
const serveCommand = "serve"

// The files that `up` passes on.
const (
	lockDescriptor   = 3
	statusDescriptor = 4
)

// serve is the supervisor: it starts everything, reports that, and stops everything when it receives a signal.
func serve(ctx context.Context, root string, out io.Writer) error {
	h := homeOf(root)
	// the processes that serve starts inherit neither
	syscall.CloseOnExec(lockDescriptor)
	syscall.CloseOnExec(statusDescriptor)
	lock := os.NewFile(lockDescriptor, "lock")
	status := os.NewFile(statusDescriptor, "status")
	defer lock.Close()
	defer status.Close()
	if _, err := fmt.Fprintln(lock, os.Getpid()); err != nil {
		return fmt.Errorf("write the process id (`dev serve` is only for `dev up` to start): %w", err)
	}
	progress := func(line string) {
		fmt.Fprintln(out, line)
		fmt.Fprintln(status, line)
	}
	s, err := startWorking(ctx, h, progress)
	if err != nil {
		progress(failedPrefix + strings.ReplaceAll(err.Error(), "\n", "; "))
		return err
	}
	progress(readyLine)
	_ = status.Close()
	watch(ctx, s, out)
	return s.stop()
}

// startWorking starts everything and verifies it.
func startWorking(ctx context.Context, h home, progress func(string)) (*stack, error) {
	s, err := startStack(ctx, string(h), progress)
	if err != nil {
		return nil, err
	}
	progress("verify that an annotated Deployment is pinned")
	if err := probe(ctx, s); err != nil {
		return nil, errors.Join(fmt.Errorf("verify that an annotated Deployment is pinned: %w", err), s.stop())
	}
	if err := writeEnv(h.path("env"), s.variables()); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// watch returns when the supervisor receives a signal. It logs a process that exits by itself. The others keep running, since a
// user may be debugging.
func watch(ctx context.Context, s *stack, out io.Writer) {
	err := wait.PollUntilContextCancel(ctx, time.Second, false, func(context.Context) (bool, error) {
		if err := s.exited(); err != nil {
			fmt.Fprintln(out, err)
			return true, nil
		}
		return false, nil
	})
	if err == nil {
		<-ctx.Done()
	}
	fmt.Fprintln(out, "ending")
}
