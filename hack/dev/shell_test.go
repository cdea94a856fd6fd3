package main

import "testing"

func TestLineIsWhatOneTypes(t *testing.T) {
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"get", "tag", "myapp-devel"}, "kubectl get tag myapp-devel"},
		{[]string{"--for=condition=Ready", "--timeout=60s"}, "kubectl --for=condition=Ready --timeout=60s"},
		{[]string{"--output", "jsonpath={.status}"}, "kubectl --output jsonpath='{.status}'"},
		{[]string{`--patch={"a":"b"}`}, `kubectl --patch='{"a":"b"}'`},
		{[]string{"it's", ""}, `kubectl 'it'\''s' ''`},
	} {
		if got := line("kubectl", row.args); got != row.want {
			t.Errorf("line(%q) = %s, want %s", row.args, got, row.want)
		}
	}
}
