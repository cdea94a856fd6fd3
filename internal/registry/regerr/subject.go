package regerr

// Subject is what an error is about.
type Subject struct {
	// Text names the image, and the location where it differs.
	Text string
	// Host is the registry as users write it.
	Host string
	// Identifier is the image's tag or digest.
	Identifier string
	// Insecure: the administrator allows plain HTTP.
	Insecure bool
	// IsMirror: the registry is the internal one, and the text is for the administrator who named it.
	IsMirror bool
}

// setting returns the setting to check.
func (s Subject) setting() string {
	if s.IsMirror {
		return "CACHE_REGISTRY_ADDRESS"
	}
	return "spec.from"
}
