package manifests

import "testing"

// TestPushServicesReachTheManager: the ports of the Services, also of the samples, are ports of the manager's container.
func TestPushServicesReachTheManager(t *testing.T) {
	installed(t)
	must(t, "", "apply -f bin/gateway-api.yaml")
	must(t, "", "wait --for=condition=Established customresourcedefinition/httproutes.gateway.networking.k8s.io")
	must(t, "", "apply -k config/samples/push")
	ports := map[string]string{}
	for name, port := range map[string]string{"push-quay": "9081", "push-docker": "9082", "push": "9083"} {
		ports[name], ports[port] = port, port
		path := `jsonpath={.spec.template.spec.containers[0].ports[?(@.name=="` + name + `")].containerPort}`
		if got := must(t, "", "get deployment tagger-controller-manager --namespace tagger-system -o "+path); got != port {
			t.Errorf("the port %s is %q, want %s", name, got, port)
		}
	}
	for service, want := range map[string]struct{ port, target string }{
		"tagger-quay":        {"8081", "9081"},
		"tagger-docker":      {"8082", "9082"},
		"tagger-push":        {"8083", "9083"},
		"push-ingress":       {"8083", "9083"},
		"push-gateway":       {"8083", "9083"},
		"push-load-balancer": {"443", "9083"},
	} {
		get := func(path string) string {
			t.Helper()
			return must(t, "", "get service "+service+" --namespace tagger-system -o jsonpath={"+path+"}")
		}
		if port, target := get(".spec.ports[0].port"), ports[get(".spec.ports[0].targetPort")]; port != want.port || target != want.target {
			t.Errorf("%s leads from %s to %s, want %+v", service, port, target, want)
		}
		if got := get(".spec.selector"); got != must(t, "", "get deployment tagger-controller-manager --namespace tagger-system -o jsonpath={.spec.selector.matchLabels}") {
			t.Errorf("%s selects %s", service, got)
		}
	}
}
