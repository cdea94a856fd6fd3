package auth

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/net/publicsuffix"

	"github.com/images-io/tagger/internal/registry/endpoint"
	"github.com/images-io/tagger/internal/registry/transport"
)

// tokenServices are the hosts that give tokens for registries in other domains than their own, and these domains.
var tokenServices = map[string][]string{
	"auth.docker.io":   {"docker.com", "dhi.io"}, // Docker Hub by its other name, and Docker's hardened images
	"api.scaleway.com": {"scw.cloud"},
}

// realm is the token service that a registry's challenge names (distribution's token authentication).
type realm struct {
	address   *url.URL
	challenge *ggcr.Challenge
}

// realmOf reads the realm. The registry says it, so it may be anything.
func realmOf(challenge *ggcr.Challenge) (realm, error) {
	address, err := url.Parse(challenge.Parameters["realm"])
	if err != nil || address.Host == "" || len(address.Host) > endpoint.MaxHostLength || address.User != nil || (address.Scheme != "https" && address.Scheme != "http") {
		return realm{}, fmt.Errorf("the realm of the challenge is no address of a token service")
	}
	return realm{address: address, challenge: challenge}, nil
}

// registry names the token service, and challengeThere is the challenge as if it were a registry of its own. So
// go-containerregistry takes it for checked: its own check knows neither registries.conf nor what a name resolves to, and
// would refuse private networks.
func (r realm) registry() (name.Registry, error) { return name.NewRegistry(r.address.Host) }

func (r realm) challengeOfService() *ggcr.Challenge {
	there := *r.challenge
	there.Insecure = r.address.Scheme == "http"
	return &there
}

// serves says whether the token service is the registry's own, and may be shown the credentials that are written for it:
// on the same host, in the same domain, a known one, or one that the administrator lists. No other may, or a registry would
// get the credentials for itself at another by naming its own service, and the other way round.
func (r realm) serves(registry string, lists func(address string) bool) bool {
	service := strings.ToLower(r.address.Host)
	registry = strings.ToLower(registry)
	return service == registry || lists(endpoint.HostPort(r.address)) ||
		sameDomain(endpoint.Hostname(registry), endpoint.Hostname(service)) || isKnownService(endpoint.Hostname(registry), endpoint.Hostname(service))
}

// sameDomain says whether two hosts belong to one owner: they share the name that was registered, below the public suffix.
// Addresses have none.
func sameDomain(a, b string) bool {
	if isAddress(a) || isAddress(b) {
		return false
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(a)
	if err != nil {
		return false
	}
	other, err := publicsuffix.EffectiveTLDPlusOne(b)
	return err == nil && domain == other
}

func isKnownService(registry, service string) bool {
	return slices.ContainsFunc(tokenServices[service], func(domain string) bool {
		return registry == domain || strings.HasSuffix(registry, "."+domain)
	})
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || transport.NumericLabel.MatchString(host)
}
