// Package admission holds the webhooks: the pinner of workloads, the defaulter and the validator of Tags. They read the
// informer cache. They read the API server for a Tag that the cache does not have yet, or has without an import.
package admission

// Paths of the webhooks.
const (
	// PathWorkloads is the mutating webhook of workloads.
	PathWorkloads = "/pin-workload"
	// PathDefaultTag is the mutating webhook of Tags.
	PathDefaultTag = "/mutate-images-io-v1-tag"
	// PathValidateTag is the validating webhook of Tags.
	PathValidateTag = "/validate-images-io-v1-tag"
)
