package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

var (
	start = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	names = []string{"127.0.0.1", "tagger-webhook-service.tagger-system.svc"}
	year  = Default.AuthorityLife
)

// sound returns the material of the first replica.
func sound(t *testing.T) Material {
	t.Helper()
	return advanced(t, Material{}, start)
}

func advanced(t *testing.T, m Material, now time.Time) Material {
	t.Helper()
	m, _, err := Default.Advance(m, names, now)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// did returns the steps, in order.
func did(t *testing.T, m Material, now time.Time) []Step {
	t.Helper()
	_, decisions, err := Default.Advance(m, names, now)
	if err != nil {
		t.Fatal(err)
	}
	var steps []Step
	for _, decision := range decisions[:len(decisions)-1] {
		if decision.Reason == "" {
			t.Errorf("%s without a reason", decision.Step)
		}
		steps = append(steps, decision.Step)
	}
	return steps
}

func TestWhatBecomesOfTheSecret(t *testing.T) {
	anew, sign, nothing := []Step{AddAuthority, SignServing}, []Step{SignServing}, []Step(nil)
	for name, row := range map[string]struct {
		data func(data map[string][]byte)
		at   time.Duration
		want []Step
	}{
		"it is sound":                                 {func(map[string][]byte) {}, 0, nothing},
		"it is empty":                                 {func(data map[string][]byte) { clear(data) }, 0, anew},
		"it is garbage":                               {garbage(AuthoritiesKey, SigningKeyKey, corev1.TLSCertKey, corev1.TLSPrivateKeyKey), 0, anew},
		"the authorities are garbage":                 {garbage(AuthoritiesKey), 0, anew},
		"the certificate is garbage":                  {garbage(corev1.TLSCertKey), 0, sign},
		"the certificate's key is garbage":            {garbage(corev1.TLSPrivateKeyKey), 0, sign},
		"the certificate's key is another's":          {foreign(t, corev1.TLSPrivateKeyKey), 0, sign},
		"the certificate is another authority's":      {foreign(t, corev1.TLSCertKey, corev1.TLSPrivateKeyKey), 0, sign},
		"the authority's key is missing":              {garbage(SigningKeyKey), 0, []Step{AddAuthority}}, // its signatures stay valid for a while
		"the authority's key is another's":            {foreign(t, SigningKeyKey), 0, []Step{AddAuthority}},
		"the authority is another, its key is not":    {foreign(t, AuthoritiesKey), 0, anew},
		"all of it is another installation's":         {foreign(t, AuthoritiesKey, SigningKeyKey, corev1.TLSCertKey, corev1.TLSPrivateKeyKey), 0, nothing}, // a backup
		"the authority is a server":                   {func(data map[string][]byte) { data[AuthoritiesKey] = data[corev1.TLSCertKey] }, 0, anew},
		"less than two thirds of 90 days are over":    {func(map[string][]byte) {}, 59 * 24 * time.Hour, nothing},
		"two thirds and a twentieth of them are over": {func(map[string][]byte) {}, 65 * 24 * time.Hour, sign},
		"the certificate has expired":                 {func(map[string][]byte) {}, 91 * 24 * time.Hour, sign},
		"the authority has expired":                   {func(map[string][]byte) {}, year, anew},
		"our clock was an hour behind when we signed": {func(map[string][]byte) {}, -time.Hour, nothing},
		"the certificate will be valid later":         {func(map[string][]byte) {}, -2 * time.Hour, anew},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := sound(t).Data()
			if err != nil {
				t.Fatal(err)
			}
			row.data(data)
			now := start.Add(row.at)
			if got := did(t, Parse(data, now), now); !slices.Equal(got, row.want) {
				t.Errorf("steps %v, want %v", got, row.want)
			}
		})
	}
}

// garbage makes some of the data invalid.
func garbage(keys ...string) func(map[string][]byte) {
	return func(data map[string][]byte) {
		for _, key := range keys {
			data[key] = []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
		}
	}
}

// foreign replaces some of the data by another installation's.
func foreign(t *testing.T, keys ...string) func(map[string][]byte) {
	t.Helper()
	other, err := sound(t).Data()
	if err != nil {
		t.Fatal(err)
	}
	return func(data map[string][]byte) {
		for _, key := range keys {
			data[key] = other[key]
		}
	}
}

func TestAnotherNameMeansAnotherCertificate(t *testing.T) {
	m := sound(t)
	if decision := Default.Decide(m, names[:1], start); decision.Step != Keep {
		t.Errorf("fewer names: %+v, want Keep", decision)
	}
	decision := Default.Decide(m, append(names, "10.0.0.1"), start)
	if decision.Step != SignServing || decision.Reason != "the certificate is not for 10.0.0.1" {
		t.Errorf("an address more: %+v", decision)
	}
}

// TestAnAuthorityChangesWithoutAGap changes the authority: at every moment the authority of the served certificate has been
// trusted for at least an overlap, and stays trusted for at least an overlap.
func TestAnAuthorityChangesWithoutAGap(t *testing.T) {
	m := sound(t)
	old := m.Authorities[0]
	now := due(old)
	m = advanced(t, advanced(t, m, now.Add(-time.Second)), now) // the certificate was renewed some times meanwhile
	if len(m.Authorities) != 2 || !m.Authorities[1].Equal(old) || !signs(old, m.Serving.Leaf) {
		t.Fatalf("when the authority is due, %d are trusted, want the new and the old, which still serves", len(m.Authorities))
	}
	added := m.Authorities[0]
	if m = advanced(t, m, now.Add(Default.Overlap-time.Second)); !signs(old, m.Serving.Leaf) {
		t.Error("the new authority signs before it was trusted for the overlap")
	}
	now = now.Add(Default.Overlap)
	if m = advanced(t, m, now); !signs(added, m.Serving.Leaf) || len(m.Authorities) != 2 {
		t.Fatalf("after the overlap the new authority does not sign, or the old one is not trusted: %d", len(m.Authorities))
	}
	if m = advanced(t, m, now.Add(Default.Overlap-time.Second)); len(m.Authorities) != 2 {
		t.Error("the old authority is away before the overlap is over")
	}
	if m = advanced(t, m, now.Add(Default.Overlap)); len(m.Authorities) != 1 || !m.Authorities[0].Equal(added) {
		t.Error("the old authority is trusted for ever")
	}
}

// TestAdvance_SecretStaysSound calls the manager exactly when it requested that, for ten years.
func TestAdvance_SecretStaysSound(t *testing.T) {
	m, now, signed, authorities := Material{}, start, 0, 0
	for now.Before(start.Add(10 * year)) {
		var decisions []Decision
		var err error
		if m, decisions, err = Default.Advance(m, names, now); err != nil {
			t.Fatal(err)
		}
		for _, decision := range decisions {
			switch decision.Step {
			case AddAuthority:
				authorities++
			case SignServing:
				signed++
			}
		}
		next := decisions[len(decisions)-1].Next
		if !next.After(now) {
			t.Fatalf("at %s the next look is at %s", now, next)
		}
		if last := next.Add(-time.Second); !trusted(m.Serving.Leaf, m.Authorities, last) || len(m.Authorities) > 2 {
			t.Fatalf("at %s what is served is not trusted, or too much is: %d", last, len(m.Authorities))
		}
		if left := m.Serving.Leaf.NotAfter.Sub(next); left < Default.ServingLife/5 {
			t.Errorf("at %s only %s are left", next, left)
		}
		now = next
	}
	if authorities < 14 || authorities > 16 || signed < 60 || signed > 80 {
		t.Errorf("%d authorities and %d certificates in ten years", authorities, signed)
	}
}

func TestInstallationsRenewAtDifferentTimes(t *testing.T) {
	a, b := sound(t), sound(t)
	if due(a.Serving.Leaf).Equal(due(b.Serving.Leaf)) {
		t.Error("two certificates of the same moment are due at the same moment")
	}
}

func TestAdvance_AuthoritiesAreBounded(t *testing.T) {
	m := sound(t)
	for i := range 20 {
		m.Signer = nil // an administrator deletes the key, again and again
		m = advanced(t, m, start.Add(time.Duration(i)*time.Second))
	}
	if len(m.Authorities) != maxAuthorities {
		t.Errorf("%d authorities, want %d", len(m.Authorities), maxAuthorities)
	}
}

// TestClientsAcceptWhatIsServed verifies with crypto/tls, not with the package's own check.
func TestClientsAcceptWhatIsServed(t *testing.T) {
	m := sound(t)
	data, err := m.Data()
	if err != nil {
		t.Fatal(err)
	}
	read := Parse(data, start)
	if _, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey]); err != nil {
		t.Error(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data[AuthoritiesKey]) {
		t.Error("no authority can be read")
	}
	for _, name := range names {
		if _, err := read.Serving.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: start}); err != nil {
			t.Error(err)
		}
	}
	block, _ := pem.Decode(data[SigningKeyKey])
	if got := fmt.Sprint(block.Type); got != "PRIVATE KEY" {
		t.Errorf("the key is a %s", got)
	}
}
