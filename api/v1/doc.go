// Package v1 is the API of Tagger, group images.io: the Tag, its bounds, and its own transitions as methods.
//
// +kubebuilder:object:generate=true
// +groupName=images.io
package v1
