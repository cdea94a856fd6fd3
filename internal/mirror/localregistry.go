package mirror

import (
	"cmp"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/images-io/tagger/internal/reference"
)

// The ConfigMap in which a cluster names its registry (KEP-1755, "Communicating a local registry").
const (
	ConfigMapNamespace = metav1.NamespacePublic
	ConfigMapName      = "local-registry-hosting"
	hostingKey         = "localRegistryHosting.v1"
)

// localRegistry reads the ConfigMap: Tagger writes to the registry's address in the cluster network, and nodes pull from its
// address for their container runtime. Both default to host.
func localRegistry(data map[string]string) (reference.Mirror, error) {
	text, ok := data[hostingKey]
	if !ok {
		return reference.Mirror{}, fmt.Errorf("it has no key %s", hostingKey)
	}
	var hosting struct {
		Host                     string `json:"host"`
		HostFromClusterNetwork   string `json:"hostFromClusterNetwork"`
		HostFromContainerRuntime string `json:"hostFromContainerRuntime"`
	}
	if err := yaml.Unmarshal([]byte(text), &hosting); err != nil {
		return reference.Mirror{}, errors.New(hostingKey + " is not YAML with the fields host, hostFromClusterNetwork and hostFromContainerRuntime")
	}
	at, err := reference.ParseMirror(cmp.Or(hosting.HostFromClusterNetwork, hosting.Host), cmp.Or(hosting.HostFromContainerRuntime, hosting.Host))
	if err != nil {
		return reference.Mirror{}, fmt.Errorf("%s: %w", hostingKey, err)
	}
	return at, nil
}
