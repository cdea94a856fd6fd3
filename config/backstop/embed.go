// Package backstop holds the backstop's manifest for the manager, which makes it where the installation cannot carry it.
package backstop

import _ "embed" // for the manifest

// Manifest is the policy and its binding, two YAML documents, as config/default has them before it names things.
//
//go:embed policy.yaml
var Manifest []byte
