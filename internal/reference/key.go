package reference

import "strings"

// dockerHosts are other names of docker.io.
var dockerHosts = map[string]bool{"index.docker.io": true, "registry-1.docker.io": true, "registry.hub.docker.com": true}

// Key returns the one spelling of a repository, or of an image in it if tag is not empty, to compare images of different
// origins: the host is in lower case and without the port 443, all names of docker.io are docker.io, and its official images
// have the path library/.
func Key(registry, repository, tag string) string {
	host := strings.TrimSuffix(strings.ToLower(registry), ":443")
	if dockerHosts[host] {
		host = DefaultRegistry
	}
	if host == DefaultRegistry && !strings.Contains(repository, "/") {
		repository = "library/" + repository
	}
	if tag == "" {
		return host + "/" + repository
	}
	return host + "/" + repository + ":" + tag
}

// Keys returns the keys of the repository and of the image of a source, none if its registry is not written out or it has a
// digest: a push notification changes no such image.
func (s Source) Keys() []string {
	if !s.Qualified() || s.Tag() == "" {
		return nil
	}
	return []string{Key(s.Registry(), s.Path(), ""), Key(s.Registry(), s.Path(), s.Tag())}
}
