// Package regerr has the errors of talking to a registry. Each knows the reason for the Tag's condition and a text for its status: what
// happened, where, and what to do.
//
// An error that Tagger itself raises is made where it occurs, with its reason and text (Cause). Classify turns those, responses of
// registries and failures of the network into an *Error about one image.
package regerr
