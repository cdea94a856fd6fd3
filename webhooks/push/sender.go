package push

import (
	"crypto/sha1" //nolint:gosec // Nexus signs with HMAC-SHA1
	"crypto/sha256"
	"maps"
	"slices"
)

// sender is a kind of registry that sends notifications.
type sender struct {
	parse parser
	// namesNoRegistry reports that notifications do not name their registry, so that the URL has to.
	namesNoRegistry bool
	// signatures are the headers of a signature. The first that a request has counts.
	signatures []signature
}

// senders are the kinds of senders, by the first segment of the path.
var senders = map[string]sender{
	"docker":       {parse: parseDocker},
	"quay":         {parse: parseQuay},
	"harbor":       {parse: parseHarbor},
	"github":       {parse: parseGitHub, signatures: []signature{{header: "X-Hub-Signature-256", prefix: "sha256=", hash: sha256.New}}},
	"distribution": {parse: parseDistribution},
	"acr":          {parse: parseACR},
	"ecr":          {parse: parseECR},
	"gar":          {parse: parseGAR},
	"artifactory": {parse: parseArtifactory, namesNoRegistry: true, signatures: []signature{
		{header: "X-JFrog-Event-Auth", hash: sha256.New, mayBeToken: true},
	}},
	"nexus": {parse: parseNexus, namesNoRegistry: true, signatures: []signature{
		{header: "X-Nexus-Webhook-Signature", hash: sha1.New, signed: withoutSpace},
	}},
	"gitea": {parse: parseGitea, signatures: []signature{
		{header: "X-Gitea-Signature", hash: sha256.New, signed: formPayload},
		{header: "X-Hub-Signature-256", prefix: "sha256=", hash: sha256.New, signed: formPayload},
	}},
	"zot":     {parse: parseZot, namesNoRegistry: true},
	"generic": {parse: parseGeneric},
}

// Senders returns the names of all senders: segments of the path, keys of the Secret and values of the label "sender".
func Senders() []string { return slices.Sorted(maps.Keys(senders)) }
