package app

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/regerr"
)

// TestResolve_CauseOfAHiddenFailure: the Service does not exist, and its name is not a public one.
func TestResolve_CauseOfAHiddenFailure(t *testing.T) {
	source, err := reference.Parse("none.invalid/team/app", "")
	if err != nil {
		t.Fatal(err)
	}
	client := registry.New(registry.Options{})
	r := &registries{client: client}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var failure *regerr.Error
	for since := time.Now(); !errors.As(err, &failure); { // the first result arrives later
		_, _, err = r.Resolve(ctx, source, noPullSecrets, importer.ResolveOptions{NotBefore: since, Namespace: "shop"})
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	if text := failure.Error(); !strings.Contains(text, "none.invalid cannot be reached; ") || strings.Contains(text, "resolved") {
		t.Errorf("the status says %q", text)
	}
	if cause := importer.Cause(err); !strings.Contains(cause, "its name cannot be resolved") {
		t.Errorf("the log says %q", cause)
	}
}

// noPullSecrets returns no pull secrets.
func noPullSecrets(_ context.Context, read func([]corev1.Secret)) ([]error, error) {
	read(nil)
	return nil, nil
}
