package credentials

import "testing"

func TestScope_IPv6AddressWithoutPort(t *testing.T) {
	written, err := parseScope("[fd00::1]")
	if err != nil {
		t.Fatal(err)
	}
	if target := parseTarget("[fd00::1]", "team/app"); !written.covers(target) {
		t.Errorf("%s does not cover %s", written, target)
	}
}
