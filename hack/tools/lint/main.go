// Command golangci-lint is golangci-lint with kube-api-linter compiled in, which checks api/ against the conventions of
// Kubernetes' own API. Such a plugin has to be built together with the program, so `make lint` builds this one.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/golangci/golangci-lint/v2/pkg/commands"
	"github.com/golangci/golangci-lint/v2/pkg/exitcodes"
	_ "sigs.k8s.io/kube-api-linter" // registers kubeapilinter
)

const (
	program = "github.com/golangci/golangci-lint/v2"
	plugin  = "sigs.k8s.io/kube-api-linter"
)

func main() {
	if err := commands.Execute(buildInfo()); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "The command is terminated due to an error: %v\n", err)
		os.Exit(exitcodes.Failure)
	}
}

// buildInfo names both versions: golangci-lint keeps results for as long as the version is the same.
func buildInfo() commands.BuildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return commands.BuildInfo{}
	}
	versions := map[string]string{}
	for _, dependency := range info.Deps {
		versions[dependency.Path] = strings.TrimPrefix(dependency.Version, "v")
	}
	return commands.BuildInfo{
		Version:   fmt.Sprintf("%s, kube-api-linter has version %s", versions[program], versions[plugin]),
		Commit:    "(unknown)",
		GoVersion: info.GoVersion,
		Date:      "(unknown)",
	}
}
