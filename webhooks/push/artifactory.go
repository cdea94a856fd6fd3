package push

import "net/http"

// parseArtifactory returns the hints of a pushed Docker tag (JFrog, "Webhooks", "Docker events"). A registry's URL may contain the
// key of the repository in Artifactory or not, so both names are hints.
func parseArtifactory(_ http.Header, body []byte) ([]Hint, error) {
	var event struct {
		Domain string `json:"domain"`
		Type   string `json:"event_type"`
		Data   struct {
			Key  string `json:"repo_key"`
			Name string `json:"image_name"`
			Tag  string `json:"tag"`
		} `json:"data"`
	}
	if err := decode(body, &event); err != nil {
		return nil, err
	}
	switch {
	case event.Domain != "docker" || event.Type != "pushed" || isDigest(event.Data.Tag):
		return nil, nil
	case event.Data.Name == "":
		return nil, missing("data.image_name")
	case event.Data.Tag == "":
		return nil, missing("data.tag")
	}
	hints := []Hint{{Repository: event.Data.Name, Tag: event.Data.Tag}}
	if event.Data.Key != "" {
		hints = append(hints, Hint{Repository: event.Data.Key + "/" + event.Data.Name, Tag: event.Data.Tag})
	}
	return hints, nil
}
