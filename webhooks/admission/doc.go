// Package admission holds the webhooks: the pinner of workloads, the defaulter and the validator of Tags. They read
// the informer cache; the one live GET is for a Tag that was created, or first imported, a moment before.
package admission

// Where the webhooks are served.
const (
	// PathWorkloads is the mutating webhook of workloads.
	PathWorkloads = "/pin-workload"
	// PathDefaultTag is the mutating webhook of Tags.
	PathDefaultTag = "/mutate-images-io-v1-tag"
	// PathValidateTag is the validating webhook of Tags.
	PathValidateTag = "/validate-images-io-v1-tag"
)
