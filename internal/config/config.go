// Package config reads and validates the administrator's configuration, flags and environment, once at start. No other package
// reads the environment.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/net/http/httpproxy"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// Config is the validated configuration.
type Config struct {
	// Kubeconfig is the path of a kubeconfig; empty means the service account of the pod.
	Kubeconfig string
	// MetricsAddress is the address of metrics; "0" turns them off.
	MetricsAddress string
	// MetricsSecure serves metrics over HTTPS to users whom the API server authorizes.
	MetricsSecure bool
	// HealthAddress is the address of /healthz and /readyz.
	HealthAddress string
	// PprofAddress is the address of profiles (net/http/pprof), which need no authentication; "0" turns them off.
	PprofAddress string
	// WebhookHost and WebhookPort are the address of admission; an empty host means every address.
	WebhookHost string
	WebhookPort int
	// WebhookCertDir holds tls.crt and tls.key, which are reloaded when they change. It applies if WebhookCertSecret is empty.
	WebhookCertDir string
	// WebhookCertSecret is the namespace and name of the Secret of the certificate that the manager issues. Both are empty if
	// another component issues it.
	WebhookCertSecret types.NamespacedName
	// MutatingWebhookConfiguration and ValidatingWebhookConfiguration are the names of the objects whose caBundle the manager
	// writes. They are set together with WebhookCertSecret.
	MutatingWebhookConfiguration, ValidatingWebhookConfiguration string
	// LeaderElect lets one of several replicas reconcile.
	LeaderElect bool
	// LeaderElectionNamespace is the namespace of the lease; empty means the pod's own namespace.
	LeaderElectionNamespace string
	// Backstop is the provider of the policy that rejects unpinned workloads while the webhook is down.
	Backstop string
	// LeaseDuration is how long other replicas wait for a leader that does not renew the lease before one takes over.
	LeaseDuration time.Duration
	// RenewDeadline is how long a leader tries to renew the lease before it exits. It is shorter than LeaseDuration.
	RenewDeadline time.Duration
	// RetryPeriod is how long replicas wait between attempts to acquire or renew the lease.
	RetryPeriod time.Duration
	// RegistriesConf is the path of a containers-registries.conf(5), reloaded when it changes. It need not exist.
	RegistriesConf string
	// RegistryCAFile is the path of more certificate authorities for registries, in PEM, reloaded when it changes. Empty
	// means none.
	RegistryCAFile string
	// LogLevel is debug, info or error.
	LogLevel string
	// Cache is the internal registry.
	Cache CacheRegistry
	// Mirror configures copies to the internal registry.
	Mirror Mirroring
	// Push configures the receivers of push notifications.
	Push Push
	// Proxy has the values of HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
	Proxy *httpproxy.Config

	webhookCertSecret string // the flag's value
	maxImageSize      *resource.QuantityValue
}

// CacheRegistry is the internal registry.
type CacheRegistry struct {
	// Address is host[:port][/prefix], without a scheme; empty means none.
	Address  string
	Username string
	Password string
	// Insecure allows plain HTTP and certificates that cannot be verified.
	Insecure bool
}

// Mirroring configures copies to the internal registry, and their verification.
type Mirroring struct {
	// ConcurrentCopies is the number of concurrent copies of images, and BlobsPerCopy that of concurrent blobs of each.
	ConcurrentCopies, BlobsPerCopy int
	// MaxImageSize is the largest size of an image, with all its platforms, in bytes.
	MaxImageSize resource.Quantity
	// Attachments says whether a copy includes the image's referrers, such as signatures: AttachmentsBestEffort,
	// AttachmentsIgnored or AttachmentsRequired.
	Attachments string
	// VerifyInterval is the time between checks that the internal registry has a generation in use.
	VerifyInterval time.Duration
}

// LogLevels are the values of --log-level.
var LogLevels = []string{"debug", "info", "error"}

// Values of --backstop.
const (
	// BackstopInstalled means that the installation has the backstop, as config/default does.
	BackstopInstalled = "installed"
	// BackstopManaged means that the manager creates the backstop, for installations that cannot include it, such as OLM's
	// bundles.
	BackstopManaged = "managed"
	// BackstopOff means that the manager deletes a backstop that it created.
	BackstopOff = "off"
)

// Backstops are the values of --backstop.
var Backstops = []string{BackstopInstalled, BackstopManaged, BackstopOff}

// Values of --mirror-attachments.
const (
	// AttachmentsBestEffort copies referrers as far as the registries allow.
	AttachmentsBestEffort = "true"
	// AttachmentsIgnored copies no referrers.
	AttachmentsIgnored = "false"
	// AttachmentsRequired fails an import whose referrers cannot be copied.
	AttachmentsRequired = "required"
)

// Lookup returns the value of an environment variable, and whether it is set, as os.LookupEnv does.
type Lookup func(key string) (string, bool)

// AddFlags adds the flags of the manager, with their defaults.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.Kubeconfig, "kubeconfig", "", "path of a kubeconfig; without it, and without KUBECONFIG, the service account of the pod is used")
	flags.StringVar(&c.MetricsAddress, "metrics-bind-address", ":8443", `address of the metrics endpoint, "0" turns it off`)
	flags.BoolVar(&c.MetricsSecure, "metrics-secure", true, "serve metrics over HTTPS, to users who may get the non-resource URL /metrics")
	flags.StringVar(&c.HealthAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz")
	flags.StringVar(&c.PprofAddress, "pprof-bind-address", "0", `address of profiles, without authentication, such as 127.0.0.1:6060; "0" turns them off`)
	flags.StringVar(&c.WebhookHost, "webhook-host", "", "address of the admission webhooks; empty means all addresses")
	flags.IntVar(&c.WebhookPort, "webhook-port", 9443, "port of the admission webhooks")
	flags.StringVar(&c.WebhookCertDir, "webhook-cert-dir", "/tmp/k8s-webhook-server/serving-certs", "directory of tls.crt and tls.key, reloaded when they change")
	flags.StringVar(&c.webhookCertSecret, "webhook-cert-secret", "", "namespace/name of the Secret of a certificate that the manager issues for its webhooks; empty means the files of --webhook-cert-dir")
	flags.StringVar(&c.MutatingWebhookConfiguration, "mutating-webhook-configuration-name", "", "the MutatingWebhookConfiguration whose caBundle the manager writes, with --webhook-cert-secret")
	flags.StringVar(&c.ValidatingWebhookConfiguration, "validating-webhook-configuration-name", "", "the ValidatingWebhookConfiguration whose caBundle the manager writes, with --webhook-cert-secret")
	flags.BoolVar(&c.LeaderElect, "leader-elect", true, "let one of several replicas reconcile")
	flags.StringVar(&c.LeaderElectionNamespace, "leader-election-namespace", "", "namespace of the lease; empty means the pod's own")
	flags.StringVar(&c.Backstop, "backstop", "", "provider of the ValidatingAdmissionPolicy that rejects unpinned workloads while the webhook is down: installed, managed or off; off deletes a policy that a manager created, and keeps an installed one (default: the environment variable BACKSTOP, else "+BackstopInstalled+")")
	flags.DurationVar(&c.LeaseDuration, "leader-elect-lease-duration", 15*time.Second, "how long the others wait for a leader that does not renew the lease before one takes over")
	flags.DurationVar(&c.RenewDeadline, "leader-elect-renew-deadline", 10*time.Second, "how long a leader tries to renew the lease before it exits")
	flags.DurationVar(&c.RetryPeriod, "leader-elect-retry-period", 2*time.Second, "how long to wait between attempts to acquire or renew the lease")
	flags.StringVar(&c.RegistriesConf, "registries-conf", "/etc/containers/registries.conf", "path of a containers-registries.conf(5), reloaded when it changes")
	flags.StringVar(&c.RegistryCAFile, "registry-ca-file", "", "path of more certificate authorities for registries, in PEM, reloaded when it changes")
	flags.IntVar(&c.Mirror.ConcurrentCopies, "mirror-concurrent-copies", 4, "number of images copied concurrently; stalled copies, and namespaces without a running copy, may raise it to at most three times that")
	flags.IntVar(&c.Mirror.BlobsPerCopy, "mirror-blobs-per-copy", 4, "number of blobs of an image copied concurrently")
	maxImageSize := resource.QuantityValue{Quantity: resource.MustParse("20Gi")}
	c.maxImageSize = &maxImageSize
	flags.Var(c.maxImageSize, "mirror-max-image-size", "largest size of an image, with all its platforms, that is copied")
	flags.StringVar(&c.Mirror.Attachments, "mirror-attachments", AttachmentsBestEffort, "copy an image's referrers, such as signatures: true, as far as the registries allow; false; or required, to fail the import without them")
	flags.Lookup("mirror-attachments").NoOptDefVal = AttachmentsBestEffort
	flags.DurationVar(&c.Mirror.VerifyInterval, "mirror-verify-interval", time.Hour, "time between checks that the internal registry has an image in use")
	c.Push.addFlags(flags)
	flags.StringVar(&c.LogLevel, "log-level", "info", "lowest level that is logged: "+strings.Join(LogLevels, ", "))
}

// Complete reads the environment and validates the configuration. Its error names every problem.
func (c *Config) Complete(lookup Lookup) error {
	if c.Kubeconfig == "" {
		c.Kubeconfig, _ = lookup("KUBECONFIG")
	}
	if c.Backstop == "" { // a Subscription of OLM sets variables, and no flags
		backstop, _ := lookup("BACKSTOP")
		c.Backstop = cmp.Or(backstop, BackstopInstalled)
	}
	c.Proxy = proxyOf(lookup)
	return errors.Join(
		c.completeCache(lookup),
		c.completeMirror(),
		c.Push.complete(),
		validateAddress("--metrics-bind-address", c.MetricsAddress),
		validateAddress("--health-probe-bind-address", c.HealthAddress),
		validateAddress("--pprof-bind-address", c.PprofAddress),
		validatePort("--webhook-port", c.WebhookPort, 1),
		c.validateLease(),
		validateOneOf("--log-level", c.LogLevel, LogLevels),
		validateOneOf("--backstop", c.Backstop, Backstops),
		c.validateNamespace(),
		validateFile("--registry-ca-file", c.RegistryCAFile),
		validateSet("--webhook-cert-dir", c.WebhookCertDir),
		c.completeCertificates(),
	)
}

// completeCertificates reads the three flags of the certificate that the manager issues.
func (c *Config) completeCertificates() error {
	set := 0
	for _, value := range []string{c.webhookCertSecret, c.MutatingWebhookConfiguration, c.ValidatingWebhookConfiguration} {
		if value != "" {
			set++
		}
	}
	if set != 0 && set != 3 {
		return errors.New("--webhook-cert-secret, --mutating-webhook-configuration-name and --validating-webhook-configuration-name go together; set all or none")
	}
	namespace, name, _ := strings.Cut(c.webhookCertSecret, "/")
	if set == 3 && (namespace == "" || name == "" || strings.Contains(name, "/")) {
		return fmt.Errorf("--webhook-cert-secret is %q; write namespace/name", c.webhookCertSecret)
	}
	c.WebhookCertSecret = types.NamespacedName{Namespace: namespace, Name: name}
	return nil
}

// completeCache reads the four environment variables of the internal registry.
func (c *Config) completeCache(lookup Lookup) error {
	address, _ := lookup("CACHE_REGISTRY_ADDRESS")
	c.Cache.Username, _ = lookup("CACHE_REGISTRY_USERNAME")
	c.Cache.Password, _ = lookup("CACHE_REGISTRY_PASSWORD")
	var problems []error
	if insecure, ok := lookup("CACHE_REGISTRY_INSECURE"); ok && insecure != "" {
		var err error
		if c.Cache.Insecure, err = strconv.ParseBool(insecure); err != nil {
			problems = append(problems, fmt.Errorf("CACHE_REGISTRY_INSECURE is %q; write true or false", insecure))
		}
	}
	c.Cache.Address = withoutScheme(address)
	if c.Cache.Address != "" {
		problems = append(problems, validateRegistry("CACHE_REGISTRY_ADDRESS", c.Cache.Address))
	}
	if (c.Cache.Username == "") != (c.Cache.Password == "") {
		problems = append(problems, errors.New("CACHE_REGISTRY_USERNAME and CACHE_REGISTRY_PASSWORD go together; set both or neither"))
	}
	if c.Cache.Address == "" && (c.Cache.Username != "" || c.Cache.Password != "") {
		problems = append(problems, errors.New("CACHE_REGISTRY_USERNAME and CACHE_REGISTRY_PASSWORD need CACHE_REGISTRY_ADDRESS; set all three, or none of them"))
	}
	return errors.Join(problems...)
}

// completeMirror validates the flags of copies.
func (c *Config) completeMirror() error {
	c.Mirror.MaxImageSize = c.maxImageSize.Quantity
	var problems []error
	if c.Mirror.MaxImageSize.Value() < 1 {
		problems = append(problems, fmt.Errorf("--mirror-max-image-size is %s; write a size such as 20Gi", c.maxImageSize))
	}
	if !slices.Contains([]string{AttachmentsBestEffort, AttachmentsIgnored, AttachmentsRequired}, c.Mirror.Attachments) {
		problems = append(problems, fmt.Errorf("--mirror-attachments is %q; write true, false or required", c.Mirror.Attachments))
	}
	if c.Mirror.VerifyInterval < time.Second {
		problems = append(problems, fmt.Errorf("--mirror-verify-interval is %s; write at least 1s", c.Mirror.VerifyInterval))
	}
	return errors.Join(append(problems,
		validateCount("--mirror-concurrent-copies", c.Mirror.ConcurrentCopies), validateCount("--mirror-blobs-per-copy", c.Mirror.BlobsPerCopy))...)
}

func withoutScheme(address string) string {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	return strings.TrimSuffix(address, "/")
}

func proxyOf(lookup Lookup) *httpproxy.Config {
	get := func(name string) string {
		if value, ok := lookup(name); ok {
			return value
		}
		value, _ := lookup(strings.ToLower(name))
		return value
	}
	return &httpproxy.Config{HTTPProxy: get("HTTP_PROXY"), HTTPSProxy: get("HTTPS_PROXY"), NoProxy: get("NO_PROXY")}
}

// leaseJitter is the factor by which client-go may extend the retry period (leaderelection.JitterFactor).
const leaseJitter = 1.2

// validateLease rejects durations that client-go or the API server would reject: a lease counts in whole seconds, and a leader
// gives up before another one takes over, after at least two attempts.
func (c *Config) validateLease() error {
	switch {
	case c.RetryPeriod <= 0:
		return fmt.Errorf("--leader-elect-retry-period is %s; write more than 0s", c.RetryPeriod)
	case c.RenewDeadline <= time.Duration(leaseJitter*float64(c.RetryPeriod)):
		return fmt.Errorf("--leader-elect-renew-deadline is %s; write more than %v times --leader-elect-retry-period, which is %s", c.RenewDeadline, leaseJitter, c.RetryPeriod)
	case c.LeaseDuration <= c.RenewDeadline:
		return fmt.Errorf("--leader-elect-lease-duration is %s; write more than --leader-elect-renew-deadline, which is %s", c.LeaseDuration, c.RenewDeadline)
	case c.LeaseDuration%time.Second != 0:
		return fmt.Errorf("--leader-elect-lease-duration is %s; write whole seconds", c.LeaseDuration)
	default:
		return nil
	}
}

// validateNamespace requires Tagger's own namespace for a backstop that the manager creates: the policy exempts it.
func (c *Config) validateNamespace() error {
	if c.Backstop == BackstopManaged && c.LeaderElectionNamespace == "" {
		return errors.New("--backstop=managed needs --leader-election-namespace, Tagger's own namespace, which the policy exempts")
	}
	return nil
}
