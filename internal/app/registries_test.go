package app

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/images-io/tagger/internal/importer"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry"
	"github.com/images-io/tagger/internal/registry/regerr"
)

// TestLogDetail_CauseOfAHiddenFailure: the Service does not exist, and its name is not a public one.
func TestLogDetail_CauseOfAHiddenFailure(t *testing.T) {
	var lines []string
	log := funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})
	source, err := reference.Parse("none.invalid/team/app", "")
	if err != nil {
		t.Fatal(err)
	}
	client := registry.New(registry.Options{})
	r := &registries{client: client}
	ctx, cancel := context.WithTimeout(logr.NewContext(t.Context(), log), time.Minute)
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
	if len(lines) != 1 || !strings.Contains(lines[0], "its name cannot be resolved") || !strings.Contains(lines[0], `"namespace"="shop"`) {
		t.Errorf("the log says %q", lines)
	}
}
