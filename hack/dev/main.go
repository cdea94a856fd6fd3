// Command dev runs Tagger on this machine: a real control plane, two registries and the manager, all on loopback.
//
//	dev up      start it and return; .dev/kubeconfig and .dev/env say how to use it
//	dev down    end it and remove .dev
//	dev demo    start the same beside it, tell Tagger's story with kubectl, and clean up
//
// `make dev-up`, `make dev-down` and `make demo` build what is needed and call it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/images-io/tagger/test/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE) // a reader that exits, as in `make demo | head`, must not prevent the cleanup
	context.AfterFunc(ctx, stop)   // a second Ctrl-C exits at once; the processes exit, too
	ctrl.SetLogger(logr.Discard())
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	commands := map[string]func(context.Context, string, io.Writer) error{
		"up": up, "down": down, "demo": demo, serveCommand: serve,
	}
	if len(args) != 1 || commands[args[0]] == nil {
		return errors.New("usage: dev up|down|demo")
	}
	root, err := cluster.Root()
	if err != nil {
		return err
	}
	return commands[args[0]](ctx, root, out)
}
