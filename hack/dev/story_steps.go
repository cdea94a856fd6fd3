package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// containerImage is the path of a Deployment's image.
const containerImage = "{.spec.template.spec.containers[0].image}"

// push pushes an image of one layer, whose content is its name, and returns the reference by digest.
func (s *story) push(ctx context.Context, layer string) (string, error) {
	if err := writeLayer(filepath.Join(s.dir, layer), layer); err != nil {
		return "", err
	}
	args := []string{"append", "--oci-empty-base", "--new_layer=" + layer, "--new_tag=" + s.image}
	if _, err := s.run(ctx, "crane", args...); err != nil {
		return "", err
	}
	digest, err := s.run(ctx, "crane", "digest", s.image)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(s.image, ":latest") + "@" + strings.TrimSpace(digest), nil
}

// notify sends a push notification about the image.
func (s *story) notify(ctx context.Context) error {
	body := fmt.Sprintf(`{"image":%q}`, s.image)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.pushURL, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("notify Tagger: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("notify Tagger: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("notify Tagger: %s", response.Status)
	}
	s.holds("Tagger accepts the notification %s", body)
	return nil
}

// writeLayer writes a tar archive of one small file.
func writeLayer(path, content string) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err := w.WriteHeader(&tar.Header{Name: "build", Mode: 0o644, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write([]byte(content))
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = os.WriteFile(path, archive.Bytes(), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the layer %s: %w", path, err)
	}
	return nil
}

// expect shows a field of an object and checks it.
func (s *story) expect(ctx context.Context, want, kind, name, field string) error {
	got, err := s.run(ctx, "kubectl", "get", kind, name, "--output", "jsonpath="+field)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s of the %s %s is %q, expected %q", field, kind, name, got, want)
	}
	return nil
}

// waitFor waits until a field has a value.
func (s *story) waitFor(ctx context.Context, object, field, value string) error {
	_, err := s.run(ctx, "kubectl", "wait", "--for=jsonpath="+field+"="+value, object, "--timeout=60s")
	return err
}

// moved waits until the Tag is at the generation, the Deployment has its image, and its pods run it.
func (s *story) moved(ctx context.Context, generation, image string) error {
	if err := s.waitFor(ctx, "tag/myapp-devel", "{.status.generation}", generation); err != nil {
		return err
	}
	if err := s.waitFor(ctx, "deployment/myapp", containerImage, image); err != nil {
		return err
	}
	return s.rolledOut(ctx, image)
}

// rolledOut waits for the rollout and checks the image of the pods that are not terminating.
func (s *story) rolledOut(ctx context.Context, image string) error {
	if _, err := s.run(ctx, "kubectl", "rollout", "status", "deployment/myapp", "--timeout=60s"); err != nil {
		return err
	}
	const format = `jsonpath={range .items[*]}{.spec.containers[0].image} {.status.phase} {.metadata.deletionTimestamp}{"\n"}{end}`
	pods, err := s.query(ctx, "kubectl", "get", "pods", "--selector=app=myapp", "--output", format)
	if err != nil {
		return err
	}
	want := image + " Running \n"
	for pod := range strings.Lines(pods) {
		if staying := strings.HasSuffix(pod, " \n"); staying && pod != want {
			return fmt.Errorf("a pod is at %q, expected %q", pod, want)
		}
	}
	if !strings.Contains(pods, want) {
		return fmt.Errorf("the pods are %q, expected one at %q", pods, want)
	}
	s.holds("its pods run %s", image)
	return nil
}

// deploymentState returns a text that differs after any change or rollout of a Deployment.
func (s *story) deploymentState(ctx context.Context) (string, error) {
	return s.query(ctx, "kubectl", "get", "deployment", "myapp",
		"--output", `jsonpath=generation {.metadata.generation}, revision {.metadata.annotations.deployment\.kubernetes\.io/revision}`)
}

// untouched checks that the Deployment has not changed.
func (s *story) untouched(ctx context.Context, before string) error {
	after, err := s.deploymentState(ctx)
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("the Deployment was at %s and is at %s", before, after)
	}
	s.holds("the Tag has the error; the generation in use and the Deployment are unchanged (%s)", after)
	return nil
}
