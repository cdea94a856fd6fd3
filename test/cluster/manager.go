package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Names of the objects of config/default.
const (
	Namespace             = "tagger-system"
	ServiceAccount        = "tagger-controller-manager"
	CertificateSecret     = "webhook-server-cert"
	MutatingConfiguration = "tagger-mutating-webhook-configuration"
	// PushSecret is the Secret of the tokens of push notifications.
	PushSecret = "tagger-push"

	ValidatingConfiguration = "tagger-validating-webhook-configuration"
)

// ManagerOptions configure a manager. Dir, Cluster and Webhook are required.
type ManagerOptions struct {
	// Dir holds the manager's kubeconfig.
	Dir string

	// Log is the file of the manager's output. Empty means manager.log in Dir.
	Log string

	// Cluster is the manager's cluster. Install must have run before.
	Cluster *Cluster

	// Webhook is the address of the webhooks; its endpoint is the one that Install had.
	Webhook *Webhook

	// RegistriesConf is the path of a containers-registries.conf(5) file. Empty means none.
	RegistriesConf string

	// CacheRegistry is the address of the internal registry, in plain HTTP. Empty means none.
	CacheRegistry string

	// Program is the program to start. Empty means bin/manager.
	Program string

	// Args are appended to the flags, so that they override them.
	Args []string

	// Env is appended to the environment of a manager that StartManager starts: name=value.
	Env []string
}

// Manager is a running manager, with the rights of the shipped service account and no others.
type Manager struct {
	// MetricsURL, HealthURL and ReadyURL are complete, in plain HTTP, without authentication.
	MetricsURL, HealthURL, ReadyURL string

	// PushURL, QuayPushURL and DockerPushURL are the addresses of push notifications, in plain HTTP, without a path.
	PushURL, QuayPushURL, DockerPushURL string

	// Log is the path of its output.
	Log string

	// PID is its process id, 0 if it runs in this process.
	PID int

	stop    func() error
	exited  func() error
	process *process // nil if it runs in this process
}

// Webhook is an address for webhooks, reserved before the manager starts: the API server needs it first.
type Webhook struct {
	// Endpoint is for Install.
	Endpoint WebhookEndpoint

	// Host and Port are the address to listen on.
	Host string
	Port int

	// CertDir holds tls.crt and tls.key, as under OLM. Empty means that the manager issues its certificate itself, as in
	// config/default.
	CertDir string
}

// ReserveWebhook picks a free port. The manager issues the certificate.
func ReserveWebhook() (*Webhook, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	endpoint := WebhookEndpoint{URL: fmt.Sprintf("https://%s:%d", loopback, port)}
	return &Webhook{Endpoint: endpoint, Host: loopback, Port: port}, nil
}

// NewWebhook picks a free port and issues a certificate for it in dir, for the manager, as OLM does.
func NewWebhook(dir string) (*Webhook, error) {
	webhook, err := ReserveWebhook()
	if err != nil {
		return nil, err
	}
	cert, err := NewServingCert(dir)
	if err != nil {
		return nil, err
	}
	webhook.Endpoint.CABundle, webhook.CertDir = cert.CA, dir
	return webhook, nil
}

// certificateFlags returns the flags of the certificate.
func (w *Webhook) certificateFlags() []string {
	if w.CertDir != "" {
		return []string{"--webhook-cert-dir=" + w.CertDir}
	}
	return []string{
		"--webhook-cert-secret=" + Namespace + "/" + CertificateSecret,
		"--mutating-webhook-configuration-name=" + MutatingConfiguration,
		"--validating-webhook-configuration-name=" + ValidatingConfiguration,
	}
}

// StartManager starts bin/manager and returns when it is ready, its webhooks included.
func StartManager(ctx context.Context, options ManagerOptions) (*Manager, error) {
	program, err := options.program()
	if err != nil {
		return nil, err
	}
	if options.Log == "" {
		options.Log = filepath.Join(options.Dir, "manager.log")
	}
	m, args, err := options.prepare()
	if err != nil {
		return nil, err
	}
	leash, err := newLeash(filepath.Join(options.Dir, "run"))
	if err != nil {
		return nil, err
	}
	process, err := leash.start(command{binary: program, args: args, env: options.environment(), log: options.Log})
	if err != nil {
		return nil, errors.Join(err, leash.release())
	}
	m.Log, m.PID, m.exited, m.process = options.Log, process.cmd.Process.Pid, process.exited, process
	m.stop = func() error { return errors.Join(process.end(), leash.release()) }
	return m.ready(ctx)
}

// RunManager is StartManager for a manager that runs in this process, so that the race detector sees it: run is its command
// with these arguments, and returns when its context ends.
func RunManager(ctx context.Context, run func(ctx context.Context, args []string) error, options ManagerOptions) (*Manager, error) {
	m, args, err := options.prepare()
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var result error
	go func() {
		defer close(ended)
		result = run(running, args)
	}()
	m.exited = func() error {
		select {
		case <-ended:
			return errors.Join(errors.New("the manager ended by itself"), result)
		default:
			return nil
		}
	}
	m.stop = func() error {
		cancel()
		<-ended
		return result
	}
	return m.ready(ctx)
}

// prepare picks the manager's addresses and writes its kubeconfig. It returns the manager's arguments.
func (o ManagerOptions) prepare() (*Manager, []string, error) {
	kubeconfig, err := o.kubeconfig()
	if err != nil {
		return nil, nil, err
	}
	var addresses [5]string
	for i := range addresses {
		port, err := FreePort()
		if err != nil {
			return nil, nil, err
		}
		addresses[i] = fmt.Sprintf("%s:%d", loopback, port)
	}
	metrics, health, quay, docker, push := addresses[0], addresses[1], addresses[2], addresses[3], addresses[4]
	m := &Manager{
		MetricsURL: "http://" + metrics + "/metrics", HealthURL: "http://" + health + "/healthz", ReadyURL: "http://" + health + "/readyz",
		PushURL: "http://" + push, QuayPushURL: "http://" + quay, DockerPushURL: "http://" + docker,
	}
	return m, o.flags(kubeconfig,
		"--metrics-bind-address="+metrics, "--health-probe-bind-address="+health,
		"--push-quay-bind-address="+quay, "--push-docker-bind-address="+docker, "--push-bind-address="+push), nil
}

// ready waits for the manager, and stops it if it is not ready in time.
func (m *Manager) ready(ctx context.Context) (*Manager, error) {
	err := await(ctx, "the manager to be ready", m.exited, func(ctx context.Context) error {
		return answers(ctx, http.DefaultClient, m.ReadyURL, http.StatusOK)
	})
	if err != nil {
		return nil, errors.Join(err, m.stop())
	}
	return m, nil
}

// Stop stops the manager. A running one must exit with code 0.
func (m *Manager) Stop() error { return m.stop() }

// Exited returns an error as soon as the manager exits by itself.
func (m *Manager) Exited() error { return m.exited() }

// program returns the path of the manager.
func (o ManagerOptions) program() (string, error) {
	if o.Program != "" {
		return o.Program, nil
	}
	bin, err := findBin(o.Cluster.options.Bin, "manager")
	return filepath.Join(bin, "manager"), err
}

// kubeconfig writes the service account's kubeconfig and returns its path.
func (o ManagerOptions) kubeconfig() (string, error) {
	config, err := o.Cluster.ServiceAccountConfig(Namespace, ServiceAccount)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return "", fmt.Errorf("make the manager's folder: %w", err)
	}
	path := filepath.Join(o.Dir, "kubeconfig")
	return path, WriteKubeconfig(path, config)
}

func (o ManagerOptions) flags(kubeconfig string, addresses ...string) []string {
	return slices.Concat(addresses, []string{
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--leader-election-namespace=" + Namespace,
		"--metrics-secure=false",
		"--webhook-host=" + o.Webhook.Host,
		fmt.Sprintf("--webhook-port=%d", o.Webhook.Port),
		"--registries-conf=" + o.RegistriesConf, // otherwise the manager reads the machine's own
		"--push-secret=" + Namespace + "/" + PushSecret,
		"--log-level=info",
	}, o.Webhook.certificateFlags(), o.Args)
}

// environment returns the caller's environment, since its proxy applies here, too, without the settings of the manager itself.
func (o ManagerOptions) environment() []string {
	var environment []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "CACHE_REGISTRY_") && !strings.HasPrefix(variable, "KUBECONFIG=") {
			environment = append(environment, variable)
		}
	}
	if o.CacheRegistry != "" {
		environment = append(environment, "CACHE_REGISTRY_ADDRESS="+o.CacheRegistry, "CACHE_REGISTRY_INSECURE=true")
	}
	return append(environment, o.Env...)
}
