package certificates

import (
	"crypto/x509"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// TestWhenACertificateIsServed offers a second certificate, of a second authority, to a replica that serves a first one.
func TestWhenACertificateIsServed(t *testing.T) {
	first, second := sound(t), sound(t)
	both := []*x509.Certificate{second.Authorities[0], first.Authorities[0]}
	renewed := first
	renewed.Serving = nil
	renewed = advanced(t, renewed, start)
	for name, row := range map[string]struct {
		offers  []Material
		trust   [][]*x509.Certificate // at each offer
		seconds []int
		want    Material
	}{
		"the first is served at once": {
			[]Material{first}, [][]*x509.Certificate{first.Authorities}, []int{0}, first},
		"one that is not trusted yet waits": {
			[]Material{first, second}, [][]*x509.Certificate{first.Authorities, first.Authorities}, []int{0, 3600}, first},
		"one that has just become trusted waits": {
			[]Material{first, second, second}, [][]*x509.Certificate{first.Authorities, both, both}, []int{0, 10, 14}, first},
		"one that was trusted for a while does not": {
			[]Material{first, second, second}, [][]*x509.Certificate{first.Authorities, both, both}, []int{0, 10, 15}, second},
		"one that was not trusted for a moment begins anew": {
			[]Material{first, second, second, second, second},
			[][]*x509.Certificate{first.Authorities, both, first.Authorities, both, both}, []int{0, 10, 14, 15, 19}, first},
		"when the served one is not trusted any more, without a wait": {
			[]Material{first, second}, [][]*x509.Certificate{first.Authorities, second.Authorities}, []int{0, 10}, second},
		"one of the same authority is served at once": {
			[]Material{first, renewed}, [][]*x509.Certificate{first.Authorities, first.Authorities}, []int{0, 1}, renewed},
	} {
		t.Run(name, func(t *testing.T) {
			var served Served
			for i, offer := range row.offers {
				served.offer(offer.Serving, row.trust[i], Default.Settle, start.Add(time.Duration(row.seconds[i])*time.Second))
			}
			got, err := served.GetCertificate(nil)
			if err != nil || !got.Leaf.Equal(row.want.Serving.Leaf) {
				t.Errorf("another is served (%v)", err)
			}
		})
	}
}

func TestServed_ReadyWhenTrusted(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(start)
	m := sound(t)
	var served Served
	expect := func(when, want string) {
		t.Helper()
		got := ""
		if err := served.Ready(clock); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	const untrusted = "the authority of the certificate is not in the caBundle of every webhook yet"
	expect("at first", "no certificate yet")
	if _, err := served.GetCertificate(nil); err == nil {
		t.Error("something is served at first")
	}
	served.offer(m.Serving, nil, Default.Settle, start)
	expect("before any webhook trusts it", untrusted)
	served.offer(m.Serving, m.Authorities, Default.Settle, start)
	expect("when it is trusted", "")
	served.offer(m.Serving, nil, Default.Settle, start)
	expect("when the caBundle was emptied", untrusted)
	served.offer(m.Serving, m.Authorities, Default.Settle, start)
	clock.SetTime(start.Add(Default.ServingLife))
	expect("when it has expired", "the certificate has expired")
}
