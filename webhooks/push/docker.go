package push

import (
	"cmp"
	"net/http"

	"github.com/images-io/tagger/internal/reference"
)

// parseDocker returns the hint of a notification of Docker Hub (Docker documentation, "Docker Hub webhooks"). It does not use
// callback_url, which Docker Hub no longer supports.
func parseDocker(_ http.Header, body []byte) ([]Hint, error) {
	var event struct {
		PushData struct {
			Tag string `json:"tag"`
		} `json:"push_data"`
		Repository struct {
			RepoName  string `json:"repo_name"`
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"repository"`
	}
	if err := decode(body, &event); err != nil {
		return nil, err
	}
	repository := event.Repository.RepoName
	if repository == "" && event.Repository.Name == "" {
		return nil, missing("repository.repo_name")
	}
	if event.PushData.Tag == "" {
		return nil, missing("push_data.tag")
	}
	repository = cmp.Or(repository, cmp.Or(event.Repository.Namespace, "library")+"/"+event.Repository.Name)
	return []Hint{{Registry: reference.DefaultRegistry, Repository: repository, Tag: event.PushData.Tag}}, nil
}
