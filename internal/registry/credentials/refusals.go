package credentials

import (
	"fmt"

	"github.com/images-io/tagger/internal/registry/regerr"
)

// AllRefused adds to a refusal that the registry refused each credential and the anonymous user.
func AllRefused(refusal error, tried int) error {
	return regerr.WithText(refusal, "; tried "+triedWith(tried)+"anonymously")
}

// AfterRefusals adds to an error how many credentials the registry had refused before.
func AfterRefusals(err error, tried int) error {
	if tried == 0 {
		return err
	}
	return regerr.WithText(err, fmt.Sprintf("; before, the registry had refused %s", credentialCount(tried)))
}

func triedWith(count int) string {
	if count == 0 {
		return ""
	}
	return "with " + credentialCount(count) + " and "
}

func credentialCount(count int) string {
	if count == 1 {
		return "1 credential"
	}
	return fmt.Sprintf("%d credentials", count)
}
