package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/images-io/tagger/test/cluster"
)

// pushToken returns the token of a sender.
func (u *user) pushToken(sender string) string {
	u.t.Helper()
	tokens, err := world.cluster.PushTokens(u.t.Context())
	if err != nil {
		u.t.Fatal(err)
	}
	return tokens[sender]
}

// notify sends a notification about an image and returns the status of the response.
func (u *user) notify(token, image string) (int, error) {
	body := strings.NewReader(fmt.Sprintf(`{"image":%q}`, image))
	response, err := http.Post(world.manager.PushURL+"/generic/"+token, "application/json", body)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// accepted sends a notification that must be accepted.
func (u *user) accepted(token, image string) {
	u.t.Helper()
	if status, err := u.notify(token, image); err != nil || status != http.StatusAccepted {
		u.t.Fatalf("got %d, %v", status, err)
	}
}

func TestPush_RollsTheDeployment(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	image := u.push("build 1")
	u.accepted(u.pushToken("generic"), u.source())
	u.becomes("deployment/app", containerImage, image)
	if got := u.get("tag/myapp", ".status.references[0].trigger"); got != "Push" {
		t.Errorf("the trigger is %s", got)
	}
}

// TestPush_OneNotificationManyTimes: Docker Hub has sent the same notification several times (hub-feedback#2148).
func TestPush_OneNotificationManyTimes(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	image, token := u.push("build 1"), u.pushToken("generic")
	var sending sync.WaitGroup
	errs := make(chan error, 1000)
	for range 20 {
		sending.Go(func() {
			for range 50 {
				status, err := u.notify(token, u.source())
				if err == nil && status != http.StatusAccepted {
					err = fmt.Errorf("got %d", status)
				}
				errs <- err
			}
		})
	}
	sending.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	u.becomes("tag/myapp", ".status.references[0].imageReference", image)
	u.isHandled("myapp")
	if got := u.get("tag/myapp", ".status.references[*].generation"); got != "1 0" {
		t.Errorf("the generations are %s", got)
	}
}

// isHandled waits until the last requested check has its result.
func (u *user) isHandled(tag string) {
	u.t.Helper()
	u.eventually("the last push to be handled", func() error {
		requested := u.get("tag/"+tag, `.metadata.annotations.images\.io/requested-check`)
		if handled := u.get("tag/"+tag, ".status.lastHandledRequest"); requested == "" || handled != requested {
			return fmt.Errorf("%q is handled, and %q is requested", handled, requested)
		}
		return nil
	})
}

func TestPush_ForgedOfAnUnchangedImage(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	u.accepted(u.pushToken("generic"), u.source())
	u.isHandled("myapp")
	if got := u.get("tag/myapp", ".status.references[*].generation"); got != "0" {
		t.Errorf("the generations are %s", got)
	}
}

// TestPush_ImageThatTheRegistryLacks: keel#347 trusts the notification.
func TestPush_ImageThatTheRegistryLacks(t *testing.T) {
	u := newUser(t)
	image := u.imported("myapp")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	u.becomes("deployment/app", containerImage, image)
	u.kubectl(`patch tag/myapp --type=merge -p {"spec":{"from":"` + world.registry.Address + "/" + u.namespace + `/myapp:none"}}`)
	u.becomes("tag/myapp", `.status.conditions[?(@.type=="Ready")].reason`, "NotFound")
	before := u.get("tag/myapp", ".status.lastImportAttempt.when")
	u.accepted(u.pushToken("generic"), world.registry.Address+"/"+u.namespace+"/myapp:none")
	u.eventually("another attempt", func() error {
		if got := u.get("tag/myapp", ".status.lastImportAttempt.when"); got == before {
			return fmt.Errorf("the last is of %s", got)
		}
		return nil
	})
	if got := u.get("deployment/app", containerImage); got != image {
		t.Errorf("the image is %s, want %s", got, image)
	}
}

func TestPush_DowngradedTag(t *testing.T) {
	u := newUser(t)
	first := u.imported("myapp")
	u.moved("myapp", 1)
	u.request("myapp", 0)
	u.becomes("tag/myapp", ".status.generation", "0")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	token := u.pushToken("generic")
	for build := 2; build < 8; build++ {
		image := u.push(fmt.Sprint("build ", build))
		u.accepted(token, u.source())
		u.becomes("tag/myapp", ".status.references[0].imageReference", image)
	}
	if got := u.get("tag/myapp", ".status.generation"); got != "0" {
		t.Errorf("the Tag is at generation %s", got)
	}
	if got := u.get("deployment/app", containerImage); got != first {
		t.Errorf("the image is %s, want %s", got, first)
	}
}

// TestPush_Distribution has a registry of its own, which notifies by itself.
func TestPush_Distribution(t *testing.T) {
	u := newUser(t)
	address := world.notifying.Address + "/" + u.namespace + "/myapp:latest"
	push := func(build string) string {
		t.Helper()
		return u.pushTo(address, build)
	}
	u.with(tagYAML("myapp", address, "generation: 0"), "apply -f -")
	u.with(deploymentYAML("app", "myapp"), "apply -f -")
	for build := range 20 {
		u.becomes("deployment/app", containerImage, push(fmt.Sprint("build ", build)))
	}
}

// TestPush_LayersAreAccepted: a receiver that refuses events of layers makes the registry repeat them for ever (keel#289).
func TestPush_LayersAreAccepted(t *testing.T) {
	u := newUser(t)
	image, err := random.Image(1024, 20)
	if err != nil {
		t.Fatal(err)
	}
	if err := crane.Push(image, world.notifying.Address+"/"+u.namespace+"/layers:latest"); err != nil {
		t.Fatal(err)
	}
	u.eventually("an empty queue of notifications", func() error {
		var vars struct {
			Registry struct {
				Notifications struct {
					Endpoints []struct {
						Metrics struct{ Pending, Events, Successes, Failures, Errors int }
					}
				}
			}
		}
		if err := json.Unmarshal([]byte(u.fetch(world.notifying.VarsURL)), &vars); err != nil {
			return err
		}
		endpoints := vars.Registry.Notifications.Endpoints
		if len(endpoints) != 1 || endpoints[0].Metrics.Pending > 0 || endpoints[0].Metrics.Successes < 21 {
			return fmt.Errorf("its counters are %+v", endpoints)
		}
		if endpoints[0].Metrics.Failures+endpoints[0].Metrics.Errors > 0 {
			t.Fatalf("its counters are %+v", endpoints)
		}
		return nil
	})
}

func TestPush_TokenIsReplaced(t *testing.T) {
	u := newUser(t)
	u.imported("myapp")
	admin := &user{t: t, namespace: cluster.Namespace}
	const sender, next = "zot", "0123456789abcdefghijklmnop"
	token := u.pushToken(sender)
	status := func(token string) int {
		t.Helper()
		response, err := http.Post(world.manager.PushURL+"/"+sender+"/"+token, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	admin.kubectl(fmt.Sprintf(`patch secret/%s -p {"stringData":{%q:%q,%q:%q}}`, cluster.PushSecret, sender, next, sender+".previous", token))
	u.eventually("both tokens to be valid", func() error {
		if got := []int{status(next), status(token)}; got[0] != http.StatusBadRequest || got[1] != http.StatusBadRequest {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
	admin.kubectl(fmt.Sprintf(`patch secret/%s -p {"data":{"%s.previous":null}}`, cluster.PushSecret, sender))
	u.eventually("the previous token to be invalid", func() error {
		if status(token) != http.StatusNotFound {
			return errors.New("it is valid")
		}
		return nil
	})
	for _, secret := range []string{token, next, u.pushToken("generic")} {
		if found := world.logs.lines(secret); len(found) > 0 {
			t.Errorf("the log has a token: %s", found)
		}
	}
}

// TestPush_TagIsLate: a registry may notify before its tag can be read (distribution#2625).
func TestPush_TagIsLate(t *testing.T) {
	u := newUser(t)
	old := u.push("build 0")
	from := strings.Replace(u.source(), world.registry.Address, world.late.address, 1)
	u.with(tagYAML("myapp", from, "generation: 0"), "apply -f -")
	u.becomes("tag/myapp", ".status.generation", "0")
	image := u.push("build 1")
	_, digest, _ := strings.Cut(old, "@")
	world.late.hide(u.namespace, digest, 3*time.Second)
	u.accepted(u.pushToken("generic"), from)
	_, digest, _ = strings.Cut(image, "@")
	u.becomes("tag/myapp", ".status.digest", digest)
}

// TestPush_MissingTokenIsMade: an administrator deletes a key to get a new token.
func TestPush_MissingTokenIsMade(t *testing.T) {
	u := newUser(t)
	admin := &user{t: t, namespace: cluster.Namespace}
	before := u.pushToken("nexus")
	admin.kubectl("patch secret/" + cluster.PushSecret + ` -p {"data":{"nexus":null}}`)
	u.eventually("a new token", func() error {
		if token := u.pushToken("nexus"); token == before || len(token) < 43 {
			return fmt.Errorf("it has %d bytes", len(token))
		}
		return nil
	})
}
