package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
)

// hostingYAML is the ConfigMap of KEP-1755: Tagger writes to one address, and nodes pull from another.
func hostingYAML(push, pull string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata:
  name: local-registry-hosting
  namespace: kube-public
data:
  localRegistryHosting.v1: |
    host: unused.test:5000
    hostFromClusterNetwork: %s
    hostFromContainerRuntime: %s
`, push, pull)
}

// asSeenByNodes returns the address from which nodes pull, given Tagger's.
func asSeenByNodes(address string) string {
	return strings.Replace(address, "127.0.0.1", "localhost", 1)
}

// administrator may create the ConfigMap.
func (u *user) administrator() *user { return &user{t: u.t, namespace: "kube-public"} }

// hosts sets the address of the internal registry.
func (u *user) hosts(push, pull string) {
	u.t.Helper()
	u.administrator().with(hostingYAML(push, pull), "apply --server-side --force-conflicts -f -")
}

// inMirror returns the reference of a source's image in the internal registry.
func (u *user) inMirror(tag, image string) string {
	_, digest, _ := strings.Cut(image, "@")
	return asSeenByNodes(world.mirror.Address) + "/" + u.namespace + "/" + tag + "@" + digest
}

// cached creates a cached Tag of the first build, and waits until it is mirrored. It returns the image there.
func (u *user) cached(name string, more ...string) string {
	u.t.Helper()
	u.hosts(world.mirror.Address, asSeenByNodes(world.mirror.Address))
	image := u.inMirror(name, u.push("build 0"))
	u.with(cachedYAML(name, u.source(), more...), "apply -f -")
	u.becomes("tag/"+name, ".status.references[0].imageReference", image)
	return image
}

func cachedYAML(name, from string, more ...string) string {
	return strings.Replace(tagYAML(name, from, more...), "cache: false", "cache: true", 1)
}

// mirrorHas waits until the repository of a Tag has exactly those tags.
func (u *user) mirrorHas(name string, want ...string) {
	u.t.Helper()
	u.eventually("the internal registry to have the tags "+strings.Join(want, ", "), func() error {
		tags, err := crane.ListTags(world.mirror.Address+"/"+u.namespace+"/"+name, crane.Insecure)
		if err != nil && len(want) == 0 && strings.Contains(err.Error(), "NAME_UNKNOWN") {
			return nil
		}
		if slices.Sort(tags); err == nil && !slices.Equal(tags, want) {
			err = fmt.Errorf("it has %v", tags)
		}
		return err
	})
}

// atDigest returns an image without its repository.
func atDigest(image string) string {
	_, digest, _ := strings.Cut(image, "@")
	return "@" + digest
}

func (u *user) mirrorPath(name, identifier string) string {
	return world.mirror.Address + "/" + u.namespace + "/" + name + identifier
}

// events returns the messages of events of a reason.
func (u *user) events(reason string) string {
	u.t.Helper()
	return u.kubectl("get events --field-selector reason=" + reason + " -o jsonpath={.items[*].message}")
}

// said waits for an event of a reason that has all the parts.
func (u *user) said(reason string, parts ...string) {
	u.t.Helper()
	u.eventually("an event "+reason, func() error {
		events := u.events(reason)
		for _, part := range parts {
			if !strings.Contains(events, part) {
				return fmt.Errorf("%q is not in %q", part, events)
			}
		}
		return nil
	})
}

// TestInternalRegistryOfAConfigMap runs before the others, which share it.
func TestInternalRegistryOfAConfigMap(t *testing.T) {
	u := newUserAlone(t)
	u.administrator().kubectl("delete configmap/local-registry-hosting --ignore-not-found")
	image := u.inMirror("myapp", u.push("build 0"))
	u.with(cachedYAML("myapp", u.source()), "apply -f -")
	const ready = `.status.conditions[?(@.type=="Ready")]`
	u.becomes("tag/myapp", ready+".reason", "MirrorNotConfigured")
	u.has(u.get("tag/myapp", ready+".message"), "CACHE_REGISTRY_ADDRESS", "local-registry-hosting", "kube-public")
	if got := u.get("tag/myapp", ".metadata.finalizers"); got != "" {
		t.Errorf("it has nothing in the internal registry, and the finalizers %s", got)
	}

	u.hosts(world.mirror.Address, asSeenByNodes(world.mirror.Address))
	u.becomes("tag/myapp", ".status.references[0].imageReference", image)
	u.mirrorHas("myapp", "0")

	u.hosts("127.0.0.1:1", asSeenByNodes(world.mirror.Address)) // without a listener
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Mirrored")].reason`, "MirrorUnavailable")
	u.request("myapp", 1)
	u.becomes("tag/myapp", ready+".reason", "MirrorUnavailable")
	u.becomes("tag/myapp", ".status.generation", "0")
	u.kubectl("delete tag/myapp --timeout=90s")
	u.said("PruneIncomplete", image)

	u.hosts(world.mirror.Address, asSeenByNodes(world.mirror.Address))
	u.mirrorHas("myapp", "0")
}

func TestCachedTagRunsFromTheMirror(t *testing.T) {
	u := newUser(t)
	image := u.cached("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.becomes("deployment/app", containerImage, image)
	u.kubectl("rollout status deployment/app --timeout=60s")
	u.mirrorHas("myapp", "0")
	_, digest, _ := strings.Cut(image, "@")
	if got, err := crane.Digest(u.mirrorPath("myapp", ":0"), crane.Insecure); err != nil || got != digest {
		t.Errorf("generation 0 is %s, %v, want %s", got, err, digest)
	}
	u.said("Mirroring", "generation 0 of "+u.source()+" is copied to "+image)
	u.said("Mirrored", "generation 0", "bytes sent", " s")
	if got := u.get("tag/myapp", ".metadata.finalizers[*]"); got != "images.io/mirror" {
		t.Errorf("its finalizers are %s", got)
	}
	second := u.inMirror("myapp", u.moved("myapp", 1))
	u.becomes("deployment/app", containerImage, second)
	u.request("myapp", 0)
	u.becomes("deployment/app", containerImage, image)
	u.mirrorHas("myapp", "0", "1")
}

func TestMirrorOfAPrivateSource(t *testing.T) {
	u := newUser(t)
	u.hosts(world.mirror.Address, asSeenByNodes(world.mirror.Address))
	image := u.inMirror("myapp", u.private("source", u.namespace+"/myapp"))
	u.with(cachedYAML("myapp", world.private.Address+"/"+u.namespace+"/myapp:latest"), "apply -f -")
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].reason`, "Unauthorized")
	u.with(pullSecretYAML("pull", world.private.Address), "apply -f -")
	u.becomes("tag/myapp", ".status.references[0].imageReference", image)
}

func TestTurningCacheOnAndOffMakesGenerations(t *testing.T) {
	u := newUser(t)
	u.hosts(world.mirror.Address, asSeenByNodes(world.mirror.Address))
	source := u.imported("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.becomes("deployment/app", containerImage, source)
	u.has(u.with("", `patch tag/myapp --type=merge -p {"spec":{"cache":true}}`), "myapp")
	u.becomes("tag/myapp", ".status.generation", "1")
	u.becomes("deployment/app", containerImage, u.inMirror("myapp", source))
	u.kubectl(`patch tag/myapp --type=merge -p {"spec":{"cache":false}}`)
	u.becomes("tag/myapp", ".status.generation", "2")
	u.becomes("deployment/app", containerImage, source)
	if got := u.get("tag/myapp", ".status.references[*].imageReference"); got != source+" "+u.inMirror("myapp", source)+" "+source {
		t.Errorf("the history is %s", got)
	}
	u.mirrorHas("myapp", "1")
}

func TestRolloutWithMissingPullSecret(t *testing.T) {
	u := newUser(t)
	u.hosts(world.mirror.Address, asSeenByNodes(world.mirror.Address))
	source := u.imported("myapp")
	u.with(pullSecretYAML("there", world.mirror.Address), "apply -f -")
	u.with(deploymentYAML("app", "myapp")+"      imagePullSecrets:\n      - name: there\n      - name: absent\n", "apply -f -")
	u.kubectl(`patch tag/myapp --type=merge -p {"spec":{"cache":true}}`)
	u.becomes("deployment/app", containerImage, u.inMirror("myapp", source))
	u.said("PullSecretMissing", "in this namespace: absent")
}

func TestNewWorkloadWithMissingPullSecret(t *testing.T) {
	u := newUser(t)
	u.cached("myapp")
	u.with(deploymentYAML("app", "myapp")+"      imagePullSecrets:\n      - name: absent\n", "apply -f -")
	u.said("PullSecretMissing", "in this namespace: absent")
}

func TestOldGenerationsArePruned(t *testing.T) {
	u := newUser(t)
	first := u.cached("myapp", "historyLimit: 1")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.kubectl("rollout status deployment/app --timeout=60s")
	u.with(strings.Replace(deploymentYAML("stays", first), `image-tag: "true"`, `other: "x"`, 1), "apply -f -")
	second := u.inMirror("myapp", u.moved("myapp", 1))
	u.becomes("deployment/app", containerImage, second)
	u.kubectl("rollout status deployment/app --timeout=60s")
	third := u.inMirror("myapp", u.moved("myapp", 2))
	u.becomes("deployment/app", containerImage, third)
	u.mirrorHas("myapp", "0", "2")
	u.kubectl("delete deployment/stays")
	u.mirrorHas("myapp", "2")
	u.becomes("tag/myapp", ".status.mirrored[*].generation", "2")
	if _, err := crane.Head(u.mirrorPath("myapp", atDigest(first)), crane.Insecure); err == nil {
		t.Error("its manifest is still there")
	}
}

func TestDeletedTagLeavesNothingMirrored(t *testing.T) {
	u := newUser(t)
	u.cached("myapp")
	u.request("myapp", 1)
	u.becomes("tag/myapp", ".status.generation", "1")
	u.mirrorHas("myapp", "0", "1")
	u.kubectl("delete tag/myapp --timeout=60s")
	u.mirrorHas("myapp")
	if got := u.events("PruneIncomplete"); got != "" {
		t.Errorf("it says %s", got)
	}
}

func TestReplacedTagLeavesNothingMirrored(t *testing.T) {
	u := newUser(t)
	u.cached("myapp")
	u.with(cachedYAML("myapp", u.source()), "replace -f -")
	u.becomes("tag/myapp", ".metadata.finalizers[*]", "images.io/mirror")
	u.kubectl("delete tag/myapp --timeout=60s")
	u.mirrorHas("myapp")
}

func TestAnImageThatVanishedIsCopiedAgain(t *testing.T) {
	u := newUser(t)
	image := u.cached("myapp")
	at := u.mirrorPath("myapp", atDigest(image))
	if err := crane.Delete(at, crane.Insecure); err != nil {
		t.Fatal(err)
	}
	u.eventually("the image to be there again", func() error {
		_, err := crane.Head(at, crane.Insecure)
		return err
	})
	u.mirrorHas("myapp", "0")
	u.said("MirroredAgain", "was missing and is there again")
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Mirrored")].status`, "True")
	if got := u.get("tag/myapp", ".status.references[*].generation"); got != "0" {
		t.Errorf("the generations are %s, want 0", got)
	}
}

func TestMirroredImageAndSourceGone(t *testing.T) {
	u := newUser(t)
	image := u.cached("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.becomes("deployment/app", containerImage, image)
	digest := atDigest(image)
	for _, at := range []string{world.registry.Address + "/" + u.namespace + "/myapp" + digest, u.mirrorPath("myapp", digest)} {
		if err := crane.Delete(at, crane.Insecure); err != nil {
			t.Fatal(err)
		}
	}
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Mirrored")].reason`, "NotFound")
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].status`, "True")
	u.becomes("deployment/app", containerImage, image)
	if got := u.replicaSets("app"); got != 1 {
		t.Errorf("the Deployment has %d ReplicaSets, want 1", got)
	}
}
