package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
)

// TestLaterSignatureIsMirrored adds a signature as cosign sign does in CI: after the image was pushed, and mirrored.
func TestLaterSignatureIsMirrored(t *testing.T) {
	u := newUser(t)
	image := u.cached("myapp")
	tag := strings.Replace(strings.TrimPrefix(atDigest(image), "@"), ":", "-", 1) + ".sig"
	source := strings.TrimSuffix(u.source(), "latest") + tag
	for build := range 3 {
		signature := atDigest(u.pushTo(source, fmt.Sprint("signature ", build)))
		if build == 2 { // a push notification, or a user
			u.kubectl("annotate tag/myapp images.io/requested-check=1")
		}
		u.eventually("the signature to be mirrored", func() error {
			digest, err := crane.Digest(u.mirrorPath("myapp", "@"+strings.TrimPrefix(signature, "@")), crane.Insecure)
			if err == nil && "@"+digest != signature {
				err = fmt.Errorf("it is %s", digest)
			}
			return err
		})
		u.said("AttachmentsMirrored", "what was attached to generation 0 since is in the internal registry")
		if build == 1 { // the Tag did not change, so it is the same event
			u.eventually("the event to be counted", func() error {
				if got := u.kubectl("get events --field-selector reason=AttachmentsMirrored -o jsonpath={.items[*].series.count}"); got != "2" {
					return fmt.Errorf("the count is %q", got)
				}
				return nil
			})
		}
	}
	if _, err := crane.Digest(u.mirrorPath("myapp", ":"+tag), crane.Insecure); err != nil {
		t.Error(err)
	}
	u.has(u.get("tag/myapp", `.status.conditions[?(@.type=="Mirrored")].message`), "the internal registry has the generation in use")
}
