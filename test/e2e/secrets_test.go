package e2e

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
)

// pullSecretYAML is a secret whose credentials are for that registry, or a path in it.
func pullSecretYAML(name, scope string) string {
	auth := base64.StdEncoding.EncodeToString([]byte(privateUser + ":" + privatePassword))
	return secretYAML(name, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, scope, auth))
}

func secretYAML(name, config string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\ntype: kubernetes.io/dockerconfigjson\ndata:\n  .dockerconfigjson: %s\n",
		name, base64.StdEncoding.EncodeToString([]byte(config)))
}

// private pushes a build to the private registry, and creates a Tag of it.
func (u *user) private(name, path string) (image string) {
	u.t.Helper()
	source := world.private.Address + "/" + path + ":latest"
	credentials := crane.WithAuth(&authn.Basic{Username: privateUser, Password: privatePassword})
	image = u.pushTo(source, "private", credentials)
	u.with(tagYAML(name, source), "apply -f -")
	return image
}

func TestAPullSecretIsUsedAsSoonAsItIsThere(t *testing.T) {
	u := newUser(t)
	image := u.private("myapp", u.namespace+"/myapp")
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].reason`, "Unauthorized")
	u.with(pullSecretYAML("pull", world.private.Address), "apply -f -")
	u.becomes("tag/myapp", ".status.references[0].imageReference", image)
	if found := world.logs.lines(privatePassword); len(found) > 0 {
		t.Errorf("the password is in the log: %s", found)
	}
}

func TestMalformedPullSecretIsNamed(t *testing.T) {
	u := newUser(t)
	u.kubectl("create secret docker-registry unrelated --docker-server=elsewhere.example.com --docker-username=a --docker-password=b")
	u.with(secretYAML("broken", `{"auths":{"`+world.private.Address+`":{"auth":"%%%"}}}`), "apply -f -")
	u.with(pullSecretYAML("good", world.private.Address), "apply -f -")
	image := u.private("myapp", u.namespace+"/myapp")
	u.becomes("tag/myapp", ".status.references[0].imageReference", image)
	u.eventually("the event that names the malformed secret", func() error {
		events := u.kubectl("get events --field-selector reason=MalformedPullSecret -o jsonpath={.items[*].message}")
		if !strings.Contains(events, "broken") || strings.Contains(events, "good") {
			return fmt.Errorf("only %q", events)
		}
		return nil
	})
}

func TestCredentialsArePerPath(t *testing.T) {
	u := newUser(t)
	team := u.namespace
	u.with(pullSecretYAML("team", world.private.Address+"/"+team), "apply -f -")
	u.private("evil", team+"-evil/myapp")
	u.becomes("tag/evil", `.status.conditions[?(@.type=="Ready")].reason`, "Unauthorized")
	image := u.private("good", team+"/myapp")
	u.becomes("tag/good", ".status.references[0].imageReference", image)
}

func TestSecretsOfOtherNamespacesAreNotUsed(t *testing.T) {
	u := newUser(t)
	other := &user{t: t, namespace: "default"}
	other.with(pullSecretYAML("pull-"+u.namespace, world.private.Address), "apply -f -")
	u.private("myapp", u.namespace+"/myapp")
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].reason`, "Unauthorized")
}
