package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/crypto/bcrypt"
	"sigs.k8s.io/yaml"
)

// RegistryOptions configure a registry. All but Dir are optional.
type RegistryOptions struct {
	// Dir holds the configuration and the images.
	Dir string

	// Log is the file of the registry's output. Empty means registry.log in Dir.
	Log string

	// Bin is the folder of the programs. Empty means bin/ of the working copy.
	Bin string

	// Username and Password are required of every client. Empty means that every client may do everything.
	Username, Password string

	// Tokens makes the registry require tokens instead. Nil means that it does not.
	Tokens *TokenIssuer

	// NoDeletion makes the registry refuse deletions, as registries do by default.
	NoDeletion bool

	// TLS is the certificate to serve with. Nil means plain HTTP.
	TLS *ServingCert

	// Notify is the URL that receives push notifications. Empty means none.
	Notify string

	// Env is added to the environment of the process.
	Env []string

	debug int // the port of its counters
}

// TokenIssuer is a token service of a registry (distribution's token authentication).
type TokenIssuer struct {
	// Realm is its address; its tokens have Service and Issuer.
	Realm, Service, Issuer string

	// Certificate is the file of the certificate whose key signs the tokens, PEM.
	Certificate string
}

// Registry is a running image registry.
type Registry struct {
	// Address is host:port.
	Address string

	// VarsURL has the counters of its push notifications (expvar). Empty without RegistryOptions.Notify.
	VarsURL string

	process *process
	leash   *leash
}

// noTraces makes distribution drop its traces of requests, which no test reads, whatever OTEL_TRACES_SAMPLER says: the queue
// has room for one.
var noTraces = []string{"OTEL_TRACES_EXPORTER=none", "OTEL_BSP_MAX_QUEUE_SIZE=1"}

// StartRegistry starts a registry on loopback and returns when it responds.
func StartRegistry(ctx context.Context, options RegistryOptions) (*Registry, error) {
	bin, err := findBin(options.Bin, "registry")
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("%s:%d", loopback, port)
	if options.debug, err = FreePort(); err != nil {
		return nil, err
	}
	config, err := options.write(address)
	if err != nil {
		return nil, err
	}
	if options.Log == "" {
		options.Log = filepath.Join(options.Dir, "registry.log")
	}
	return startRegistry(ctx, options, address, command{
		binary: filepath.Join(bin, "registry"),
		args:   []string{"serve", config},
		env:    bareEnvironment(options.Dir, slices.Concat(noTraces, options.Env)...),
		log:    options.Log,
	})
}

func startRegistry(ctx context.Context, options RegistryOptions, address string, cmd command) (*Registry, error) {
	leash, err := newLeash(filepath.Join(options.Dir, "run"))
	if err != nil {
		return nil, err
	}
	r := &Registry{Address: address, leash: leash}
	if options.Notify != "" {
		r.VarsURL = fmt.Sprintf("http://%s:%d/debug/vars", loopback, options.debug)
	}
	if r.process, err = leash.start(cmd); err != nil {
		return nil, errors.Join(err, leash.release())
	}
	client, url := options.client(), options.scheme()+"://"+address+"/v2/"
	err = await(ctx, "the registry at "+address, r.process.exited, func(ctx context.Context) error {
		// a registry with a password responds with 401
		return answers(ctx, client, url, http.StatusOK, http.StatusUnauthorized)
	})
	if err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

// Stop stops the registry. Its content stays in its folder.
func (r *Registry) Stop() error {
	return errors.Join(r.process.stop(), r.leash.release())
}

// Exited returns an error as soon as the registry exits by itself.
func (r *Registry) Exited() error { return r.process.exited() }

// write writes the registry's configuration, and its file of passwords, and returns the path of the former.
func (o RegistryOptions) write(address string) (string, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return "", fmt.Errorf("make the registry's folder: %w", err)
	}
	passwords := filepath.Join(o.Dir, "htpasswd")
	if o.Username != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(o.Password), bcrypt.MinCost)
		if err != nil {
			return "", fmt.Errorf("hash the registry's password: %w", err)
		}
		if err := os.WriteFile(passwords, fmt.Appendf(nil, "%s:%s\n", o.Username, hash), 0o600); err != nil {
			return "", fmt.Errorf("write the registry's password: %w", err)
		}
	}
	content, err := yaml.Marshal(o.config(address, passwords))
	if err != nil {
		return "", fmt.Errorf("write the registry's configuration: %w", err)
	}
	path := filepath.Join(o.Dir, "config.yml")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return "", fmt.Errorf("write the registry's configuration: %w", err)
	}
	return path, nil
}

// config is the configuration of https://distribution.github.io/distribution/about/configuration/.
func (o RegistryOptions) config(address, passwords string) map[string]any {
	listen := map[string]any{"addr": address}
	config := map[string]any{
		"version": "0.1",
		"log":     map[string]any{"level": "info", "accesslog": map[string]any{"disabled": false}},
		"storage": map[string]any{
			"filesystem": map[string]any{"rootdirectory": filepath.Join(o.Dir, "data")},
			"delete":     map[string]any{"enabled": !o.NoDeletion},
		},
		"http": listen,
	}
	if o.TLS != nil {
		listen["tls"] = map[string]any{
			"certificate": filepath.Join(o.TLS.Dir, "tls.crt"),
			"key":         filepath.Join(o.TLS.Dir, "tls.key"),
		}
	}
	if o.Username != "" {
		config["auth"] = map[string]any{"htpasswd": map[string]any{"realm": "registry", "path": passwords}}
	}
	if o.Tokens != nil {
		config["auth"] = map[string]any{"token": map[string]any{
			"realm": o.Tokens.Realm, "service": o.Tokens.Service, "issuer": o.Tokens.Issuer, "rootcertbundle": o.Tokens.Certificate,
		}}
	}
	if o.Notify != "" {
		listen["debug"] = map[string]any{"addr": fmt.Sprintf("%s:%d", loopback, o.debug)}
		config["notifications"] = map[string]any{"endpoints": []any{map[string]any{
			"name": "tagger", "url": o.Notify, "timeout": "5s", "threshold": 5, "backoff": "1s",
		}}}
	}
	return config
}

func (o RegistryOptions) scheme() string {
	if o.TLS != nil {
		return "https"
	}
	return "http"
}

// client returns an HTTP client that trusts the registry.
func (o RegistryOptions) client() *http.Client {
	if o.TLS == nil {
		return http.DefaultClient
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(o.TLS.CA)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}
