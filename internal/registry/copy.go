package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	v1 "github.com/images-io/tagger/api/v1"
	"github.com/images-io/tagger/internal/reference"
)

const (
	// blobsPerCopy is how many large blobs are on their way at a time where nobody says.
	blobsPerCopy = 4
	// maxImageSize is how large an image may be where nobody says, in bytes.
	maxImageSize = 20 << 30
)

// CopyLimits bound copies. The zero value has the defaults, and leaves attachments where they are.
type CopyLimits struct {
	// BlobsPerCopy is how many large blobs of one copy are on their way at a time; of small ones, it is four times as many.
	// 0 means 4.
	BlobsPerCopy int
	// MaxImageSize is how large an image may be, in bytes, with all platforms; and what is attached to it, too. 0 means 20 GiB.
	MaxImageSize int64
	// Attachments: signatures and whatever else is attached to an image are copied with it.
	Attachments bool
	// BestEffort: an attachment that a registry refuses, or that is not whole, does not keep the image from being copied.
	BestEffort bool
}

func (l CopyLimits) complete() CopyLimits {
	l.BlobsPerCopy = cmp.Or(l.BlobsPerCopy, blobsPerCopy)
	l.MaxImageSize = cmp.Or(l.MaxImageSize, maxImageSize)
	return l
}

// Repository is a place that we write to: one repository of the internal registry, with the cache's own credentials.
type Repository struct {
	// Address is the host, with its port where that is not the default one, as we contact it.
	Address string
	// Path is the repository's name there: prefix/namespace/tag.
	Path string
	// Insecure allows TLS without verification, and plain HTTP, as insecure in registries.conf does.
	Insecure bool
	// Username and Password are the cache's; both empty mean anonymous.
	Username, Password string
}

// Format writes the address and the path only, so that no log shows the password.
func (r Repository) Format(state fmt.State, _ rune) {
	_, _ = io.WriteString(state, r.Address+"/"+r.Path)
}

// Order is what to copy, and whereto.
type Order struct {
	// Source is where from. registries.conf says where it is asked.
	Source reference.Source
	// Digest is that of the index or the manifest, as it was resolved.
	Digest string
	// Credentials are the namespace's. The source sees them, and nobody else.
	Credentials Keyring
	// To is whereto.
	To Repository
	// Tag is the generation, as a decimal.
	Tag string
	// Namespace is who asks. Only what was copied for the same one is mounted.
	Namespace string
	// Progress is told how far the copy is, often and from any goroutine, so it must be quick. It may be nil.
	Progress func(Progress)
}

// Progress is how far a copy is. The totals are as far as manifests are known.
type Progress struct {
	Blobs, BlobsDone int
	Bytes, BytesDone int64
}

// Copied is what became of the blobs of a copy, in bytes, and how many attachments came with it. Missing says which did not, and why.
type Copied struct {
	Sent, Found, Mounted int64
	Attachments          int
	Missing              string
}

// ErrDeletionForbidden says that the registry does not delete.
var ErrDeletionForbidden = errors.New("the registry forbids deletion")

// Copy copies an image, byte for byte and with all platforms. What is there already is not sent again, and the tag appears
// last, when all else is there. A copy that was cut off goes on with the blobs that arrived.
//
// The error is an *Error: MirrorUnavailable where the mirror is at fault, and otherwise the source's reason; or ctx's own
// when the caller gave up.
func (c *Client) Copy(ctx context.Context, order Order) (Copied, error) {
	return c.copyAs(ctx, order, (*copying).run)
}

// CopyAttachments copies what was attached to an image after the image was copied. Where that is nothing, it asks the source three
// questions: for the two tags of cosign and for the list of referrers. There is one more after a restart, where it is not known which
// credentials are for the source. The errors are as Copy's; what cannot be copied, or looked for, is no error but Missing.
func (c *Client) CopyAttachments(ctx context.Context, order Order) (Copied, error) {
	if !c.copies.Attachments {
		return Copied{}, nil
	}
	return c.copyAs(ctx, order, (*copying).runAttachments)
}

// copyAs copies from each location of the source, as each identity, until one lets us.
func (c *Client) copyAs(ctx context.Context, order Order, run func(*copying, context.Context) error) (Copied, error) {
	to, err := c.mirror(order.To)
	if err != nil {
		return Copied{}, err
	}
	image, err := reference.Parse(order.Source.AtDigest(order.Digest), "")
	if err != nil {
		return Copied{}, newError(v1.ReasonInvalidReference, err, "%s: %q is no digest", order.Source, order.Digest)
	}
	counts := &tally{tell: order.Progress}
	_, err = c.firstOf(ctx, image, func(at location) (string, error) {
		return "", c.asEach(at, order.Credentials, func(who credential) error {
			if err := c.quotas.spare(at, who, false); err != nil {
				return err
			}
			counts.restart()
			from := source{c.access(c.reading, at, who)}
			made := c.newCopying(from, to, order, counts)
			made.isReader = c.isRemembered(at, order.Credentials)
			return run(made, ctx)
		})
	})
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return counts.result(), err
}

// copying is one copy, from one source as one identity.
type copying struct {
	*delivery
	tag     string
	limits  CopyLimits
	listing *listing
	indexes *indexes
	// size is how large all is that was copied so far, in bytes.
	size *int64
	// onlyNew: attachments that are known to be at the mirror are left out.
	onlyNew bool
	// isReader: the identity is known to be let into the source.
	isReader bool

	manifestRoom manifestRoom
}

func (c *Client) newCopying(from source, to mirror, order Order, counts *tally) *copying {
	return &copying{
		delivery: newDelivery(from, to, order.Namespace, c.copies.BlobsPerCopy, counts),
		tag:      order.Tag,
		limits:   c.copies,
		listing:  c.listing,
		indexes:  c.indexes,
		size:     new(int64(0)),
	}
}

// run copies everything but the image's own manifest, and then that: there is nothing under the tag before all of it is there.
func (c *copying) run(ctx context.Context) error {
	image := &node{descriptor: descriptor{Digest: c.source.at.digest}, isLast: true}
	attached := attachmentSet{required: !c.limits.BestEffort}
	group, working := errgroup.WithContext(ctx)
	group.Go(func() error { return c.mirror.greet(working) })
	group.Go(func() (err error) {
		if image.content, err = c.source.manifest(working, image.Digest, maxManifest); err != nil {
			return err
		}
		if err := c.manifestRoom.take(int64(len(image.content))); err != nil {
			return c.source.explain(err)
		}
		if c.limits.Attachments {
			group.Go(func() error { return attached.discover(working, c, image.Digest) })
		}
		return c.below(working, image)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if err := attached.copy(ctx, c, image.Digest); err != nil {
		return err
	}
	return c.publish(ctx, image)
}

// runAttachments copies what is attached and not known to be at the mirror. An identity that is not let in would find nothing.
func (c *copying) runAttachments(ctx context.Context) error {
	image := c.source.at.digest
	if !c.isReader {
		err := c.source.patiently(ctx, func(ctx context.Context, with requester) error {
			_, err := with.digest(ctx, c.source.at.child(image))
			return err
		})
		if err != nil {
			return err
		}
	}
	c.onlyNew = true
	var attached attachmentSet
	if err := attached.discover(ctx, c, image); err != nil {
		return err
	}
	return attached.copy(ctx, c, image)
}

// below copies what the manifests name, and those that name them but are named themselves.
func (c *copying) below(ctx context.Context, roots ...*node) error {
	whole := c.newTree()
	if err := whole.add(ctx, roots...); err != nil {
		return err
	}
	*c.size = whole.size
	c.remember(whole)
	return c.bring(ctx, whole)
}

// remember notes what indexes name before any of it is at the mirror.
func (c *copying) remember(whole *tree) {
	for _, n := range whole.ordered {
		if len(n.body.Children) > 0 {
			c.indexes.note(n.Digest, digestsOf(n.body.Children))
		}
	}
}

// publish puts the image under its tag, and sees that it is there. A registry tells the sha256 digest of a tag, whatever the image's
// is; another one has to be asked for itself.
func (c *copying) publish(ctx context.Context, image *node) error {
	stored := c.tag
	if image.Digest.Algorithm() != digest.Canonical {
		stored = image.Digest.String()
		if _, err := c.mirror.put(ctx, image, stored); err != nil {
			return err
		}
	}
	if err := c.mirror.putTag(ctx, image, c.tag); err != nil {
		return err
	}
	held, err := c.mirror.holds(ctx, stored)
	if err != nil {
		return err
	}
	if held != image.Digest.String() {
		return newError(v1.ReasonMirrorUnavailable, nil, "%s: it took the image, and has %q under %s; Tagger tries again", c.mirror.at.text, held, stored)
	}
	return nil
}
