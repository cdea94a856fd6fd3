package push

import (
	"errors"
	"net/http"

	"github.com/distribution/reference"
)

// harborResource is an artifact of a Harbor event.
type harborResource struct {
	URL string `json:"resource_url"`
	Tag string `json:"tag"`
}

// harborData is what Harbor says of an event.
type harborData struct {
	Resources []harborResource `json:"resources"`
}

// parseHarbor returns a hint for each artifact of a push event (Harbor, "Configure Webhook Notifications"): PUSH_ARTIFACT, or
// pushImage of Harbor 1, or the CloudEvent harbor.artifact.pushed. An artifact without a tag is a hint for all tags.
func parseHarbor(header http.Header, body []byte) ([]Hint, error) {
	event, isCloudEvent, err := parseCloudEvent(header, body)
	switch {
	case err != nil:
		return nil, err
	case isCloudEvent && event.Type == "harbor.artifact.pushed":
		var data harborData
		if err := decode(event.Data, &data); err != nil {
			return nil, err
		}
		return data.hints()
	case !isCloudEvent && (event.Type == "PUSH_ARTIFACT" || event.Type == "pushImage"):
		var envelope struct {
			Data harborData `json:"event_data"`
		}
		if err := decode(body, &envelope); err != nil {
			return nil, err
		}
		return envelope.Data.hints()
	default:
		return nil, nil
	}
}

func (d harborData) hints() ([]Hint, error) {
	if len(d.Resources) == 0 {
		return nil, missing("resources")
	}
	if len(d.Resources) > maxHints {
		return nil, errTooManyHints
	}
	var hints []Hint
	for _, resource := range d.Resources {
		hint, err := hintOf(resource.URL)
		if err != nil {
			return nil, errors.New("the field resource_url is not HOST/REPOSITORY with a tag or a digest")
		}
		hint.Tag = resource.Tag
		if isDigest(hint.Tag) {
			hint.Tag = ""
		}
		hints = append(hints, hint)
	}
	return hints, nil
}

// hintOf returns the hint for a reference with a registry. Without a tag it has none; a digest is dropped.
func hintOf(text string) (Hint, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return Hint{}, err
	}
	hint := Hint{Registry: reference.Domain(named), Repository: reference.Path(named)}
	if tagged, isTagged := named.(reference.Tagged); isTagged {
		hint.Tag = tagged.Tag()
	}
	return hint, nil
}
