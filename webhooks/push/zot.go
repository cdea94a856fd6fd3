package push

import (
	"net/http"
	"strings"
)

// parseZot returns the hint of an updated image (zot, "Events"). The prefix of the type is configurable there.
func parseZot(header http.Header, body []byte) ([]Hint, error) {
	event, isCloudEvent, err := parseCloudEvent(header, body)
	switch {
	case err != nil:
		return nil, err
	case !isCloudEvent:
		return nil, missing("specversion")
	case !strings.HasSuffix(event.Type, ".image.updated"):
		return nil, nil
	}
	var image struct {
		Name      string `json:"name"`
		Reference string `json:"reference"`
	}
	if err := decode(event.Data, &image); err != nil {
		return nil, err
	}
	switch {
	case image.Name == "":
		return nil, missing("data.name")
	case image.Reference == "":
		return nil, missing("data.reference")
	case isDigest(image.Reference):
		return nil, nil
	}
	return []Hint{{Repository: image.Name, Tag: image.Reference}}, nil
}
