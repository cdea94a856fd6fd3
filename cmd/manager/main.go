// Command manager is Tagger's operator: it serves admission, imports Tags, and updates the workloads that follow them.
package main

import (
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/images-io/tagger/internal/app"
)

func main() {
	if err := app.NewCommand(os.LookupEnv, os.Stderr).ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "manager:", err)
		os.Exit(1)
	}
}
