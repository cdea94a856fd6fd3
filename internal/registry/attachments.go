package registry

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

const (
	// maxReferrers is how many manifests may be attached to an image, and maxPages on how many pages they may be listed.
	maxReferrers = 128
	maxPages     = 8
)

// aboutAttachments says why it was asked.
const aboutAttachments = "; this is about what is attached to the image, such as signatures"

// errTooManyReferrers is more than that.
var errTooManyReferrers = errors.New("too much is attached to the image")

// cosignSuffixes are what cosign attaches by a tag that is made of the image's digest: signatures and attestations.
var cosignSuffixes = []string{".sig", ".att"}

// referrersTag is that tag without a suffix (image-spec, "Referrers Tag Schema"; the tags of cosign are made in the same way).
func referrersTag(image digest.Digest) string {
	tag := image.Algorithm().String() + "-" + image.Encoded()
	return tag[:min(len(tag), 128)]
}

// attachment is a manifest that goes with an image.
type attachment struct {
	*node
	// tag is what it is found by; empty for one that names the image as its subject.
	tag string
}

// attachments copies what is attached to an image. Its errors say that they are about that.
func (c *copying) attachments(ctx context.Context, image digest.Digest) error {
	found, err := c.lookForAttachments(ctx, image)
	if err == nil && len(found) > 0 {
		err = c.attach(ctx, image, found)
	}
	return adding(err, aboutAttachments)
}

// lookForAttachments looks in the three places where they are, all at once.
func (c *copying) lookForAttachments(ctx context.Context, image digest.Digest) ([]attachment, error) {
	found := make([][]attachment, len(cosignSuffixes)+1)
	group, ctx := errgroup.WithContext(ctx)
	for i, suffix := range cosignSuffixes {
		group.Go(func() (err error) {
			found[i], err = c.tagged(ctx, referrersTag(image)+suffix)
			return err
		})
	}
	group.Go(func() (err error) {
		found[len(cosignSuffixes)], err = c.referring(ctx, image)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return once(found), nil
}

// once leaves out what was found before under another name. What has two tags is one manifest.
func once(found [][]attachment) []attachment {
	seen := map[digest.Digest]*node{}
	var all []attachment
	for _, some := range found {
		for _, attached := range some {
			known := seen[attached.Digest]
			switch {
			case known == nil:
				seen[attached.Digest] = attached.node
			case attached.tag == "":
				continue
			default:
				attached.node = known
			}
			all = append(all, attached)
		}
	}
	return all
}

// tagged is what has the tag.
func (c *copying) tagged(ctx context.Context, tag string) ([]attachment, error) {
	content, found, err := c.source.look(ctx, c.source.at.tagged(tag), isAbsent)
	if err != nil || content == nil {
		return nil, err
	}
	if _, err := parseManifest(content); err != nil {
		return nil, c.source.explain(err)
	}
	return []attachment{{tag: tag, node: &node{descriptor: descriptor{Digest: found}, content: content}}}, nil
}

// referring are the manifests that name the image as their subject (distribution-spec, "Listing Referrers"). Where a registry
// does not list them, they are in an index that has a tag; what was deleted may still be in there.
func (c *copying) referring(ctx context.Context, image digest.Digest) ([]attachment, error) {
	listed, err := c.listed(ctx, image)
	if err != nil || len(listed) == 0 {
		return nil, err
	}
	nodes := make([]*node, len(listed))
	for i, one := range listed {
		nodes[i] = &node{descriptor: one}
	}
	fresh := newTree(c.source, c.limits.MaxImageSize)
	if err := fresh.hasRoom(nodes); err != nil {
		return nil, c.source.explain(err)
	}
	if err := fresh.fetchWhatIsThere(ctx, nodes); err != nil {
		return nil, err
	}
	found := make([]attachment, 0, len(nodes))
	for _, n := range nodes {
		if n.content != nil {
			found = append(found, attachment{node: n})
		}
	}
	return found, nil
}

func (c *copying) listed(ctx context.Context, image digest.Digest) ([]descriptor, error) {
	if _, known := c.apiless.Get(c.source.at.address()); !known {
		listed, hasList, err := c.source.referrers(ctx, image)
		if err == nil {
			return listed, nil
		}
		if !isAbsent(err) && !errors.Is(err, errNoManifest) {
			return nil, err
		}
		if !hasList {
			c.apiless.Add(c.source.at.address(), nil)
		}
	}
	content, _, err := c.source.look(ctx, c.source.at.tagged(referrersTag(image)), isAbsent)
	if err != nil || content == nil {
		return nil, err
	}
	listed, err := parseReferrers(content)
	if err != nil {
		return nil, c.source.explain(err)
	}
	return listed, nil
}

// attach puts what is attached, its tags once all of it is there, and notes in the mirror's index what the mirror does not note
// by itself (distribution-spec, "Pushing Manifests with Subject").
func (c *copying) attach(ctx context.Context, image digest.Digest, found []attachment) error {
	roots := make([]*node, 0, len(found))
	for _, attached := range found {
		if !slices.Contains(roots, attached.node) {
			roots = append(roots, attached.node)
		}
	}
	if err := c.below(ctx, roots...); err != nil {
		return err
	}
	if err := c.arrived(ctx, roots); err != nil {
		return err
	}
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(manifestsAtOnce)
	for _, attached := range found {
		if attached.tag == "" {
			continue
		}
		group.Go(func() error {
			_, err := c.mirror.put(working, attached.node, attached.tag)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	c.tally.attached(len(found))
	return c.mirror.note(ctx, image, slices.DeleteFunc(roots, func(n *node) bool { return c.parcel(n.Digest).noted || n.body.Subject == nil }))
}

// note adds manifests to the index of those that are attached to an image.
func (m mirror) note(ctx context.Context, image digest.Digest, attached []*node) error {
	if len(attached) == 0 {
		return nil
	}
	content, _, err := m.look(ctx, m.at.tagged(referrersTag(image)), isGone)
	if err != nil {
		return m.fault(err)
	}
	content, changed, err := withReferrers(content, attached)
	if err != nil {
		return m.fault(m.quotas.explain(err, m.at))
	}
	if !changed {
		return nil
	}
	_, err = m.put(ctx, &node{descriptor: descriptor{MediaType: types.OCIImageIndex}, content: content}, referrersTag(image))
	return err
}

// look reads what may not be there; the content is nil then. Which answers mean that is the caller's to say.
func (a access) look(ctx context.Context, at location, isAbsent func(error) bool) (content []byte, found digest.Digest, err error) {
	err = a.patiently(ctx, func(ctx context.Context, with *session) error {
		ctx, cancel := context.WithTimeout(ctx, a.sessions.limit())
		defer cancel()
		content, found, err = with.fetch(ctx, at)
		if isAbsent(err) && !mayBeOver(err) {
			return nil
		}
		return err
	})
	if isAbsent(err) {
		return nil, "", nil
	}
	return content, found, err
}

// mayBeOver says whether an answer may just mean that a token is over, so that it is worth another one.
func mayBeOver(err error) bool { return isStatus(err, http.StatusUnauthorized) }

// isAbsent says whether an answer of a source means that there is nothing attached: whatever one answers that does not know
// the question, or does not want it. What a token service answers is not about that.
func isAbsent(err error) bool {
	var answer *transport.Error
	if !errors.As(err, &answer) || errors.Is(err, errNoSession) {
		return false
	}
	return answer.StatusCode/100 == 4 && answer.StatusCode != http.StatusTooManyRequests || answer.StatusCode == http.StatusNotImplemented
}

// isGone says the same of a mirror, which has to let us in.
func isGone(err error) bool { return isStatus(err, http.StatusNotFound) }
