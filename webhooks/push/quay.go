package push

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// tagList is a list of tags, or an object whose keys are tags, as Quay sent it before 2014.
type tagList []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *tagList) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, (*[]string)(l)) == nil {
		return nil
	}
	var byTag map[string]json.RawMessage
	if json.Unmarshal(text, &byTag) != nil {
		return errors.New("neither a list nor an object")
	}
	*l = slices.Sorted(maps.Keys(byTag))
	return nil
}

// parseQuay returns a hint for each tag of a "Push to Repository" notification (Red Hat Quay, "Repository notifications").
// Other events of Quay have no updated_tags.
func parseQuay(_ http.Header, body []byte) ([]Hint, error) {
	var event struct {
		DockerURL   string  `json:"docker_url"`
		UpdatedTags tagList `json:"updated_tags"`
	}
	if err := decode(body, &event); err != nil {
		return nil, err
	}
	if event.DockerURL == "" {
		return nil, missing("docker_url")
	}
	registry, repository, _ := strings.Cut(event.DockerURL, "/")
	if registry == "" || repository == "" {
		return nil, errors.New("the field docker_url is not HOST/REPOSITORY")
	}
	if len(event.UpdatedTags) > maxHints {
		return nil, errTooManyHints
	}
	var hints []Hint
	for _, tag := range event.UpdatedTags {
		if tag != "" {
			hints = append(hints, Hint{Registry: registry, Repository: repository, Tag: tag})
		}
	}
	return hints, nil
}
