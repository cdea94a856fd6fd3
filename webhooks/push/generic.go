package push

import (
	"errors"
	"net/http"

	"github.com/images-io/tagger/internal/reference"
)

// parseGeneric returns a hint for each image of {"image": "…"}, {"images": ["…"]}, or a CloudEvent with such data, which CI jobs
// send. An image without a tag has the tag latest; one by digest cannot change.
func parseGeneric(header http.Header, body []byte) ([]Hint, error) {
	event, isCloudEvent, err := parseCloudEvent(header, body)
	if err != nil {
		return nil, err
	}
	if isCloudEvent {
		body = event.Data
	}
	var named struct {
		Image  string   `json:"image"`
		Images []string `json:"images"`
	}
	if err := decode(body, &named); err != nil {
		return nil, err
	}
	if named.Image != "" {
		named.Images = append(named.Images, named.Image)
	}
	switch {
	case len(named.Images) == 0:
		return nil, missing("image or images")
	case len(named.Images) > maxHints:
		return nil, errTooManyHints
	}
	var hints []Hint
	for _, image := range named.Images {
		source, err := reference.Parse(image, "")
		if err != nil {
			return nil, errors.New("an image is not a reference such as quay.io/company/myapp:latest")
		}
		if tag := source.Tag(); tag != "" {
			hints = append(hints, Hint{Registry: source.Registry(), Repository: source.Path(), Tag: tag})
		}
	}
	return hints, nil
}
