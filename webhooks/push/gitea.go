package push

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
)

// parseGitea returns the hint of a created container package (Gitea and Forgejo, "Webhooks", event "package"). The registry is
// the host of the package's page.
func parseGitea(header http.Header, body []byte) ([]Hint, error) {
	if cmp.Or(header.Get("X-Gitea-Event"), header.Get("X-Forgejo-Event"), header.Get("X-GitHub-Event")) != "package" {
		return nil, nil
	}
	body, err := formPayload(header, body)
	if err != nil {
		return nil, err
	}
	var event struct {
		Action  string `json:"action"`
		Package *struct {
			Type    string `json:"type"`
			Name    string `json:"name"`
			Version string `json:"version"`
			URL     string `json:"html_url"`
			Owner   struct {
				Login    string `json:"login"`
				Username string `json:"username"`
			} `json:"owner"`
		} `json:"package"`
	}
	if err := decode(body, &event); err != nil {
		return nil, err
	}
	if event.Action != "created" {
		return nil, nil
	}
	if event.Package == nil {
		return nil, missing("package")
	}
	pushed, owner := event.Package, cmp.Or(event.Package.Owner.Login, event.Package.Owner.Username)
	if pushed.Type != "container" || isDigest(pushed.Version) {
		return nil, nil
	}
	if owner == "" || pushed.Name == "" || pushed.Version == "" {
		return nil, missing("package.owner.login, package.name or package.version")
	}
	page, err := url.Parse(pushed.URL)
	if err != nil || page.Host == "" {
		return nil, errors.New("the field package.html_url is not a URL")
	}
	return []Hint{{Registry: page.Host, Repository: owner + "/" + pushed.Name, Tag: pushed.Version}}, nil
}
