package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
)

// Values of --push-authentication.
const (
	// PushAuthenticationSecret requires a token of the Secret.
	PushAuthenticationSecret = "secret"
	// PushAuthenticationNone admits every sender.
	PushAuthenticationNone = "none"
)

// Push configures the receivers of push notifications.
type Push struct {
	// QuayAddress, DockerAddress and Address are those of the receivers for Quay, for Docker Hub and for all senders; "0" turns
	// one off.
	QuayAddress, DockerAddress, Address string
	// Secret has the tokens of the senders.
	Secret types.NamespacedName
	// Authentication is PushAuthenticationSecret or PushAuthenticationNone.
	Authentication string
	// CertDir holds tls.crt and tls.key, which are reloaded when they change; empty means plain HTTP.
	CertDir string

	secret string // the flag's value
}

// IsOn reports whether there is a receiver.
func (p Push) IsOn() bool { return p.QuayAddress != "0" || p.DockerAddress != "0" || p.Address != "0" }

func (p *Push) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&p.QuayAddress, "push-quay-bind-address", "0", `address of push notifications of Quay, such as :9081; "0" turns it off`)
	flags.StringVar(&p.DockerAddress, "push-docker-bind-address", "0", `address of push notifications of Docker Hub, such as :9082; "0" turns it off`)
	flags.StringVar(&p.Address, "push-bind-address", "0", `address of push notifications of all senders, such as :9083; "0" turns it off`)
	flags.StringVar(&p.secret, "push-secret", "", "namespace/name of the Secret with the tokens of push notifications, which the manager creates")
	flags.StringVar(&p.Authentication, "push-authentication", PushAuthenticationSecret, "how senders of push notifications authenticate: secret, with a token of --push-secret; or none")
	flags.StringVar(&p.CertDir, "push-cert-dir", "", "directory of tls.crt and tls.key for push notifications over HTTPS, reloaded when they change; empty means plain HTTP")
}

// complete validates the flags.
func (p *Push) complete() error {
	problems := []error{
		validateAddress("--push-quay-bind-address", p.QuayAddress),
		validateAddress("--push-docker-bind-address", p.DockerAddress),
		validateAddress("--push-bind-address", p.Address),
		validateOneOf("--push-authentication", p.Authentication, []string{PushAuthenticationSecret, PushAuthenticationNone}),
	}
	namespace, name, _ := strings.Cut(p.secret, "/")
	isComplete := namespace != "" && name != "" && !strings.Contains(name, "/")
	switch {
	case p.secret != "" && !isComplete:
		problems = append(problems, fmt.Errorf("--push-secret is %q; write namespace/name", p.secret))
	case p.secret == "" && p.IsOn() && p.Authentication == PushAuthenticationSecret:
		problems = append(problems, errors.New("push notifications need --push-secret, the namespace/name of the Secret of their tokens"))
	}
	p.Secret = types.NamespacedName{Namespace: namespace, Name: name}
	return errors.Join(problems...)
}
