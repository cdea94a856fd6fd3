package push

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

// Index makes the cache find Tags by the images of their sources. registries.conf is not applied: a notification names an image
// as its registry does.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &v1.Tag{}, imageIndex, keysOf); err != nil {
		return fmt.Errorf("indexing Tags by image: %w", err)
	}
	return nil
}

// keysOf returns the keys of a Tag's source. An invalid source has none.
func keysOf(object client.Object) []string {
	source, err := reference.Parse(object.(*v1.Tag).Spec.From, "")
	if err != nil {
		return nil
	}
	return source.Keys()
}
