// Package cachetransform strips objects before the informer caches keep them: only what Tagger reads stays.
package cachetransform
