// Package kubectltag is the kubectl plugin: upgrade, downgrade and import.
package kubectltag

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
)

// NewCommand returns the command "kubectl tag".
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	flags := genericclioptions.NewConfigFlags(true)
	command := &cobra.Command{
		Use:           "kubectl-tag",
		Short:         "Move Tags between generations",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl tag"},
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags.AddFlags(command.PersistentFlags())
	command.SetOut(streams.Out)
	command.SetErr(streams.ErrOut)
	for _, v := range verbs {
		command.AddCommand(newVerbCommand(v, flags, streams))
	}
	return command
}

func newVerbCommand(v verb, flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:     v.name + " TAG",
		Short:   v.short,
		Example: "  kubectl tag " + v.name + " myapp-devel",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			api, namespace, err := connect(flags)
			if err != nil {
				return err
			}
			generation, err := move(command.Context(), api, types.NamespacedName{Namespace: namespace, Name: args[0]}, v.target)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(streams.Out, "tag.images.io/%s %s to generation %d\n", args[0], v.done, generation)
			return err
		},
	}
}

func connect(flags *genericclioptions.ConfigFlags) (client.Client, string, error) {
	rest, err := flags.ToRESTConfig()
	if err != nil {
		return nil, "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("reading the namespace from the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := v1.AddToScheme(scheme); err != nil {
		return nil, "", err
	}
	api, err := client.New(rest, client.Options{Scheme: scheme})
	return api, namespace, err
}
