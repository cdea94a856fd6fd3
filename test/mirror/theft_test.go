package mirror_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
	"github.com/images-io/tagger/internal/registry/regerr"
	"github.com/images-io/tagger/test/cluster"
)

// The attacker has a repository that is called like the victim's at the mirror, with the manifests of the victim's image, and
// none of its blobs. Tagger has put these at the mirror for the victim, by the same login.
func TestNoMountFromAnotherNamespace(t *testing.T) {
	for _, kind := range []string{"no login", "passwords"} {
		t.Run(kind, func(t *testing.T) {
			mirror, door := behindADoor(t, start(t, kind))
			storage := t.TempDir()
			source := start(t, "", func(o *cluster.RegistryOptions) { o.Dir = storage })
			client := newClient(t, source, mirror)

			secret, digest := pushed(t, source, "latest")
			for _, tag := range []string{"app", "tools"} {
				theirs := order(t, source, mirror, digest, tag, "0")
				theirs.Namespace, theirs.Destination.Path = "bank", "cache/bank/"+tag
				copied(t, client, theirs)
			}
			within := len(door.Mounts())
			if within == 0 {
				t.Error("nothing was mounted within the namespace: the door would not see a theft either")
			}

			if err := remote.WriteIndex(source.tag(t, "cache/bank/app", "latest"), secret, source.options...); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(storage, "data", filepath.FromSlash("docker/registry/v2/repositories/cache/bank/app/_layers"))); err != nil {
				t.Fatal(err)
			}
			stolen := order(t, source, mirror, digest, "app", "0")
			var err error
			if stolen.Source, err = reference.Parse(source.Address+"/cache/bank/app:latest", ""); err != nil {
				t.Fatal(err)
			}
			var failure *regerr.Error
			if _, err = client.Copy(t.Context(), stolen); !errors.As(err, &failure) || failure.Reason() != v1.ReasonNotFound {
				t.Errorf("got %v", err)
			}
			for _, mount := range door.Mounts()[within:] {
				if !strings.HasPrefix(mount.From, "cache/shop/") {
					t.Errorf("%s was to take a blob of %q", mount.Into, mount.From)
				}
			}
			if held, err := client.Head(t.Context(), stolen.Destination, "0"); held != "" || err != nil {
				t.Errorf("the mirror has %q, %v", held, err)
			}
		})
	}
}
