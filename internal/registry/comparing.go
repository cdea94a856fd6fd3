package registry

import (
	"context"
	"errors"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
)

// mismatched is an upload that a registry has to refuse: it says that it is something else.
const mismatched = "Tagger asks whether uploads are compared with their digests: this is not what it is said to be"

// comparing is the mirror that compares a blob with its digest itself, if it does that and the blob is large. To compare it
// here as well would cost half of the processor time of a copy.
func (m mirror) comparing(ctx context.Context, blob descriptor) mirror {
	m.compares = blob.Size >= largeBlob && blob.Digest.Algorithm() == digest.SHA256 && m.isKnownToCompare(ctx)
	return m
}

// isKnownToCompare says whether the mirror refuses what has not the digest that it is sent with, as a registry should
// (distribution-spec, "Error Codes", DIGEST_INVALID). It is not believed: it is sent such a thing. No answer means no.
func (m mirror) isKnownToCompare(ctx context.Context) bool {
	return m.placements.comparing.holds(ctx, m.at.address(), func(ctx context.Context) (bool, error) {
		err := m.sendMismatched(ctx)
		if isInvalidDigest(err) {
			return true, nil
		}
		return false, err
	})
}

func (m mirror) sendMismatched(ctx context.Context) error {
	blob := descriptor{Digest: digest.FromString("not that"), Size: int64(len(mismatched))}
	return m.patiently(ctx, func(ctx context.Context, with *session) error {
		upload, err := m.start(ctx, with, "")
		if err != nil {
			return err
		}
		if upload == nil {
			return errNoUpload
		}
		return m.send(ctx, with, upload, blob, strings.NewReader(mismatched))
	})
}

// isInvalidDigest says whether that is what a registry answers.
func isInvalidDigest(err error) bool {
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return false
	}
	for _, diagnostic := range answer.Errors {
		if diagnostic.Code == transport.DigestInvalidErrorCode {
			return true
		}
	}
	return false
}
