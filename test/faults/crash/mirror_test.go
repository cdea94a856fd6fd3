//go:build faults

package crash

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/test/cluster"
	"github.com/images-io/tagger/test/ledger"
	"github.com/images-io/tagger/test/seed"
)

// mirrorDelay is the delay of each request to the mirror, so that a manager can be killed between any two.
const mirrorDelay = 10 * time.Millisecond

// mirrored is a plane whose managers mirror into a real registry, through a ledger.
type mirrored struct {
	*plane
	door *ledger.Ledger
}

// cachedTag is a Tag of an image that no other Tag has: blobs of another one would be mounted.
type cachedTag struct{ name, from, digest string }

func newMirrored(t *testing.T) *mirrored {
	t.Helper()
	p := newPlane(t)
	internal, err := cluster.StartRegistry(t.Context(), cluster.RegistryOptions{Dir: filepath.Join(p.dir, "mirror")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := internal.Stop(); err != nil {
			t.Error(err)
		}
	})
	m := &mirrored{plane: p, door: ledger.Open(internal.Address, mirrorDelay)}
	t.Cleanup(m.door.Close)
	p.cacheRegistry = m.door.Address
	p.namespace("mirrored")
	return m
}

// push pushes an image of two platforms.
func (m *mirrored) push(name string) cachedTag {
	m.t.Helper()
	from := m.address + "/mirrored/" + name + ":latest"
	index, err := random.Index(1<<20, 3, 2)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := remote.WriteIndex(m.reference(from), index); err != nil {
		m.t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		m.t.Fatal(err)
	}
	return cachedTag{name: name, from: from, digest: digest.String()}
}

func (m *mirrored) reference(text string) name.Reference {
	m.t.Helper()
	made, err := name.ParseReference(text)
	if err != nil {
		m.t.Fatal(err)
	}
	return made
}

// begin creates the Tag.
func (m *mirrored) begin(tag cachedTag) {
	m.t.Helper()
	made := newTag("mirrored", tag.name, tag.from)
	made.Spec.Cache = true
	m.try("making "+tag.name, func() error { return m.client.Create(m.t.Context(), made) })
}

// at returns the Tag's generation 0 in the mirror.
func (m *mirrored) at(tag cachedTag) name.Reference {
	m.t.Helper()
	return m.reference(m.door.Address + "/mirrored/" + tag.name + ":0")
}

// ends waits until the Tag has its reference at the mirror.
func (m *mirrored) ends(tag cachedTag) {
	m.t.Helper()
	want := m.door.Address + "/mirrored/" + tag.name + "@" + tag.digest
	m.eventually(tag.name+" to be mirrored", func(ctx context.Context) error {
		var got v1.Tag
		if err := m.client.Get(ctx, client.ObjectKey{Namespace: "mirrored", Name: tag.name}, &got); err != nil {
			return err
		}
		if newest := got.Newest(); newest == nil || newest.ImageReference != want {
			return fmt.Errorf("it has %+v, and not %s; %+v", got.Status.References, want, got.Status.Conditions)
		}
		return nil
	})
}

// TestManagersKilledWhileTheyMirror kills the shipped manager between any two requests to the mirror; every fifth time both of
// two. The next one continues with what arrived, and no tag of the mirror exists before the whole image does.
func TestManagersKilledWhileTheyMirror(t *testing.T) {
	t.Parallel()
	chance, m := seed.New(t), newMirrored(t)
	managers := m.newPair()
	var whole int // requests of a copy by a manager that knows what the mirror can do; its first copy takes more
	for _, name := range []string{"first", "whole"} {
		before, tag := m.door.Requests(), m.push(name)
		m.begin(tag)
		m.ends(tag)
		whole = m.door.Requests() - before
	}
	for n := 1; n <= kills; n++ {
		managers = m.leads(managers.leader, managers.other)
		tag, moment := m.push(fmt.Sprint("app-", n)), 1+chance.IntN(whole)
		reached := m.door.Request(m.door.Requests() + moment)
		m.begin(tag)
		select {
		case <-reached:
		case <-time.After(patience):
			t.Fatalf("%s: no request %d of %d to the mirror within %s", tag.name, moment, whole, patience)
		}
		managers = m.kill(managers, n%5 == 0)
		isThere, err := ledger.PullIfThere(m.at(tag), tag.digest)
		if err != nil {
			t.Fatalf("killed at request %d of %d: %v", moment, whole, err)
		}
		t.Logf("kill %d of %d, at request %d of %d to the mirror, all there: %v, both: %v", n, kills, moment, whole, isThere, n%5 == 0)
		m.ends(tag)
		if err := ledger.Pull(m.at(tag), tag.digest); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.door.Check(); err != nil {
		t.Error(err)
	}
}
