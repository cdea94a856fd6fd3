// Command flux-apply applies the manifests on its standard input as Flux's kustomize-controller does, with Flux's own library:
// it sends the whole set as a server-side dry run first, applies it in the order of kinds, and waits until all objects are
// current.
//
//	flux-apply NAMESPACE TIMEOUT < manifests.yaml
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/normalize"
	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		return
	}
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "flux-apply:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: flux-apply NAMESPACE TIMEOUT")
	}
	timeout, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	api, err := client.New(config, client.Options{})
	if err != nil {
		return err
	}
	poller := polling.NewStatusPoller(api, api.RESTMapper(), polling.Options{})
	manager := ssa.NewResourceManager(api, poller, ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"})
	objects, err := utils.ReadObjects(os.Stdin)
	if err != nil {
		return err
	}
	for _, object := range objects {
		object.SetNamespace(args[0])
	}
	if err := normalize.UnstructuredList(objects); err != nil {
		return err
	}
	changes, err := manager.ApplyAllStaged(ctx, objects, ssa.DefaultApplyOptions())
	if err != nil {
		return err
	}
	for _, change := range changes.Entries {
		fmt.Println(change.Subject, change.Action)
	}
	if timeout == 0 {
		return nil
	}
	return manager.WaitForSet(changes.ToObjMetadataSet(), ssa.WaitOptions{Interval: time.Second, Timeout: timeout})
}
