package certificates

import (
	"crypto/x509"
	"net/url"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// clients returns how API servers reach the webhooks of a configuration.
func clients(configuration client.Object) []*admissionv1.WebhookClientConfig {
	var clients []*admissionv1.WebhookClientConfig
	switch configuration := configuration.(type) {
	case *admissionv1.MutatingWebhookConfiguration:
		for i := range configuration.Webhooks {
			clients = append(clients, &configuration.Webhooks[i].ClientConfig)
		}
	case *admissionv1.ValidatingWebhookConfiguration:
		for i := range configuration.Webhooks {
			clients = append(clients, &configuration.Webhooks[i].ClientConfig)
		}
	}
	return clients
}

// namesIn returns the names that API servers expect in the certificate: that of a Service, or the host of a URL. Administrators
// need not configure them a second time.
func namesIn(configurations []client.Object) []string {
	var names []string
	for _, configuration := range configurations {
		for _, config := range clients(configuration) {
			if service := config.Service; service != nil {
				names = append(names, service.Name+"."+service.Namespace+".svc")
			} else if config.URL != nil {
				if address, err := url.Parse(*config.URL); err == nil {
					names = append(names, address.Hostname())
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// trustedByAll returns the authorities that the caBundle of every webhook holds.
func trustedByAll(configurations []client.Object, now time.Time) []*x509.Certificate {
	var common []*x509.Certificate
	first := true
	for _, configuration := range configurations {
		for _, config := range clients(configuration) {
			authorities := authoritiesIn(config.CABundle, now)
			if first {
				common, first = authorities, false
				continue
			}
			common = slices.DeleteFunc(common, func(c *x509.Certificate) bool { return !contains(authorities, c) })
		}
	}
	return common
}

func contains(authorities []*x509.Certificate, authority *x509.Certificate) bool {
	return slices.ContainsFunc(authorities, authority.Equal)
}
