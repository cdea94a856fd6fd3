package push

import (
	"net/http"
	"strings"
)

// githubPackage is a package of GitHub's events.
type githubPackage struct {
	Name  string `json:"name"`
	Type  string `json:"package_type"`
	Owner struct {
		Login string `json:"login"`
	} `json:"owner"`
	Version struct {
		Container struct {
			Tag struct {
				Name string `json:"name"`
			} `json:"tag"`
		} `json:"container_metadata"`
	} `json:"package_version"`
}

// parseGitHub returns the hint of an event "package" or "registry_package" for a container (GitHub, "Webhook events and payloads").
// A version without a tag is a hint for all tags.
func parseGitHub(header http.Header, body []byte) ([]Hint, error) {
	kind := header.Get("X-GitHub-Event")
	if kind != "package" && kind != "registry_package" {
		return nil, nil
	}
	body, err := formPayload(header, body)
	if err != nil {
		return nil, err
	}
	var event struct {
		Action          string         `json:"action"`
		Package         *githubPackage `json:"package"`
		RegistryPackage *githubPackage `json:"registry_package"`
	}
	if err := decode(body, &event); err != nil {
		return nil, err
	}
	pushed := event.Package
	if kind == "registry_package" {
		pushed = event.RegistryPackage
	}
	switch {
	case pushed == nil:
		return nil, missing(kind)
	case !strings.EqualFold(pushed.Type, "container") || event.Action != "published" && event.Action != "updated":
		return nil, nil
	case pushed.Owner.Login == "" || pushed.Name == "":
		return nil, missing(kind + ".owner.login or " + kind + ".name")
	}
	repository := strings.ToLower(pushed.Owner.Login + "/" + pushed.Name)
	return []Hint{{Registry: "ghcr.io", Repository: repository, Tag: pushed.Version.Container.Tag.Name}}, nil
}
