package cluster

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// UserConfig returns the configuration of a user with that name and these groups, with a client certificate.
func (c *Cluster) UserConfig(name string, groups ...string) (*rest.Config, error) {
	c.users.Lock()
	defer c.users.Unlock()
	user, err := c.env.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	if err != nil {
		return nil, fmt.Errorf("add the user %s: %w", name, err)
	}
	return user.Config(), nil
}

// ServiceAccountConfig returns a configuration with the rights of the service account, and no others.
func (c *Cluster) ServiceAccountConfig(namespace, name string) (*rest.Config, error) {
	return c.UserConfig(Username(namespace, name),
		"system:serviceaccounts", "system:serviceaccounts:"+namespace, "system:authenticated")
}

// WriteKubeconfig writes a configuration of UserConfig, or a Cluster's own, to a file, certificates included.
func WriteKubeconfig(path string, config *rest.Config) error {
	kubeconfig := api.Config{
		Clusters: map[string]*api.Cluster{"tagger": {
			Server:                   config.Host,
			CertificateAuthorityData: config.CAData,
		}},
		AuthInfos: map[string]*api.AuthInfo{"user": {
			ClientCertificateData: config.CertData,
			ClientKeyData:         config.KeyData,
		}},
		Contexts:       map[string]*api.Context{"tagger": {Cluster: "tagger", AuthInfo: "user"}},
		CurrentContext: "tagger",
	}
	if err := clientcmd.WriteToFile(kubeconfig, path); err != nil {
		return fmt.Errorf("write a kubeconfig: %w", err)
	}
	return nil
}
