package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// tagManifest is the example of Tagger's description, with an image in the demo's registry.
const tagManifest = `apiVersion: images.io/v1
kind: Tag
metadata:
  name: myapp-devel
spec:
  from: %s
  generation: 0
  cache: false
`

// deploymentManifest is the example of Tagger's description, word for word.
const deploymentManifest = `apiVersion: apps/v1
kind: Deployment
metadata:
  annotations:
    image-tag: "true"
  name: myapp
  labels:
    app: myapp
spec:
  replicas: 1
  selector:
    matchLabels:
      app: myapp
  template:
    metadata:
      labels:
        app: myapp
    spec:
      containers:
      - name: myapp
        image: myapp-devel
`

// story is the demo. Each chapter builds on the ones before.
type story struct {
	*shell
	image         string // the image that the Tag follows, with its tag
	pushURL       string // where push notifications go
	first, second string // the references, by digest, of two builds
	third         string // that of the third
	mirror        string // the internal registry
	mirrored      string // the third build there
}

// chapter is a named step that succeeds or fails.
type chapter struct {
	name string
	tell func(context.Context) error
}

func newStory(root string, s *stack, out io.Writer) (*story, error) {
	dir := filepath.Join(s.dir, "work")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create a folder for the story: %w", err)
	}
	return &story{
		shell: newShell(root, dir, s.cluster.Kubeconfig, out),
		image: s.registry.Address + "/company/myapp:latest", pushURL: s.pushURL(), mirror: s.cache.Address,
	}, nil
}

func (s *story) chapters() []chapter {
	return []chapter{
		{"Push an image", s.pushFirst},
		{"Create the Tag", s.createTag},
		{"See its digest", s.seeDigest},
		{"Create a Deployment that uses the Tag's name as its image", s.createDeployment},
		{"See the image pinned, and running", s.seePinned},
		{"Push a new build: nothing moves by itself", s.pushSecond},
		{"Move to generation 1: the Deployment rolls", s.upgrade},
		{"Downgrade: it rolls back", s.downgrade},
		{"Upgrade, push a third build and notify Tagger: the Deployment rolls by itself", s.pushThird},
		{"Mirror it: the Deployment moves to the internal registry", s.cache},
		{"An import that fails changes nothing", s.failToImport},
	}
}

func (s *story) tell(ctx context.Context) error {
	for i, chapter := range s.chapters() {
		fmt.Fprintf(s.out, "\n%d. %s\n\n", i+1, chapter.name)
		if err := chapter.tell(ctx); err != nil {
			return fmt.Errorf("the demo failed at step %d, %q: %w", i+1, chapter.name, err)
		}
	}
	return nil
}

func (s *story) pushFirst(ctx context.Context) (err error) {
	s.first, err = s.push(ctx, "build-1.tar")
	return err
}

func (s *story) createTag(ctx context.Context) error {
	if err := s.write("tag.yaml", fmt.Sprintf(tagManifest, s.image)); err != nil {
		return err
	}
	if _, err := s.run(ctx, "kubectl", "create", "-f", "tag.yaml"); err != nil {
		return err
	}
	_, err := s.run(ctx, "kubectl", "wait", "--for=condition=Ready", "tag/myapp-devel", "--timeout=60s")
	return err
}

func (s *story) seeDigest(ctx context.Context) error {
	if _, err := s.run(ctx, "kubectl", "get", "tag", "myapp-devel"); err != nil {
		return err
	}
	if err := s.expect(ctx, s.first, "tag", "myapp-devel", "{.status.references[0].imageReference}"); err != nil {
		return err
	}
	s.holds("the Tag holds the digest that was pushed")
	return nil
}

func (s *story) createDeployment(ctx context.Context) error {
	if err := s.write("deployment.yaml", deploymentManifest); err != nil {
		return err
	}
	_, err := s.run(ctx, "kubectl", "create", "-f", "deployment.yaml")
	return err
}

func (s *story) seePinned(ctx context.Context) error {
	if err := s.expect(ctx, s.first, "deployment", "myapp", containerImage); err != nil {
		return err
	}
	s.holds("the Tag's name has become the image with its digest")
	return s.rolledOut(ctx, s.first)
}

func (s *story) pushSecond(ctx context.Context) (err error) {
	if s.second, err = s.push(ctx, "build-2.tar"); err != nil {
		return err
	}
	if s.second == s.first {
		return fmt.Errorf("both builds are %s", s.first)
	}
	if err := s.expect(ctx, "0", "tag", "myapp-devel", "{.status.generation}"); err != nil {
		return err
	}
	if err := s.expect(ctx, s.first, "deployment", "myapp", containerImage); err != nil {
		return err
	}
	s.holds("%s has another digest now, and the Deployment still runs the first", s.image)
	return nil
}

func (s *story) upgrade(ctx context.Context) error {
	if _, err := s.run(ctx, "kubectl", "tag", "upgrade", "myapp-devel"); err != nil {
		return err
	}
	if err := s.moved(ctx, "1", s.second); err != nil {
		return err
	}
	_, err := s.run(ctx, "kubectl", "get", "tag", "myapp-devel")
	return err
}

func (s *story) downgrade(ctx context.Context) error {
	if _, err := s.run(ctx, "kubectl", "tag", "downgrade", "myapp-devel"); err != nil {
		return err
	}
	return s.moved(ctx, "0", s.first)
}

// pushThird upgrades the Tag, since a downgraded one stays, pushes a build and notifies Tagger, as a registry or a CI job does.
func (s *story) pushThird(ctx context.Context) (err error) {
	if _, err := s.run(ctx, "kubectl", "tag", "upgrade", "myapp-devel"); err != nil {
		return err
	}
	if err := s.moved(ctx, "1", s.second); err != nil {
		return err
	}
	if s.third, err = s.push(ctx, "build-3.tar"); err != nil {
		return err
	}
	if err := s.notify(ctx); err != nil {
		return err
	}
	if err := s.moved(ctx, "2", s.third); err != nil {
		return err
	}
	_, err = s.run(ctx, "kubectl", "get", "tag", "myapp-devel")
	return err
}

// cache sets spec.cache to true, which makes a generation.
func (s *story) cache(ctx context.Context) error {
	_, digest, _ := strings.Cut(s.third, "@")
	s.mirrored = s.mirror + "/default/myapp-devel@" + digest
	if _, err := s.run(ctx, "kubectl", "patch", "tag", "myapp-devel", "--type=merge", `--patch={"spec":{"cache":true}}`); err != nil {
		return err
	}
	if err := s.moved(ctx, "3", s.mirrored); err != nil {
		return err
	}
	if err := s.expect(ctx, s.mirrored, "tag", "myapp-devel", "{.status.references[0].imageReference}"); err != nil {
		return err
	}
	s.holds("the Tag's reference is at the internal registry, with the digest of the source")
	there, err := s.run(ctx, "crane", "digest", s.mirror+"/default/myapp-devel:3")
	if err != nil {
		return err
	}
	if strings.TrimSpace(there) != digest {
		return fmt.Errorf("the internal registry has %q as generation 3, expected %q", there, digest)
	}
	s.holds("the internal registry has it under the tag 3")
	return nil
}

func (s *story) failToImport(ctx context.Context) error {
	before, err := s.deploymentState(ctx)
	if err != nil {
		return err
	}
	if err := s.followMissing(ctx); err != nil {
		return err
	}
	if err := s.expect(ctx, "3", "tag", "myapp-devel", "{.status.generation}"); err != nil {
		return err
	}
	if err := s.expect(ctx, s.mirrored, "deployment", "myapp", containerImage); err != nil {
		return err
	}
	return s.untouched(ctx, before)
}

// followMissing changes the Tag to an image that does not exist, and shows the result.
func (s *story) followMissing(ctx context.Context) error {
	missing := strings.Replace(s.image, "myapp", "no-such-app", 1)
	patch := fmt.Sprintf(`{"spec":{"from":%q}}`, missing)
	if _, err := s.run(ctx, "kubectl", "patch", "tag", "myapp-devel", "--type=merge", "--patch="+patch); err != nil {
		return err
	}
	if err := s.waitFor(ctx, "tag/myapp-devel", `{.status.conditions[?(@.type=="Ready")].reason}`, "NotFound"); err != nil {
		return err
	}
	if _, err := s.run(ctx, "kubectl", "get", "tag", "myapp-devel"); err != nil {
		return err
	}
	_, err := s.run(ctx, "kubectl", "get", "tag", "myapp-devel", "--output", "jsonpath={.status.lastImportAttempt}")
	return err
}
