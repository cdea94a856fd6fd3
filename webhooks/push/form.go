package push

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
)

// formPayload returns the JSON of a notification, which may be the field "payload" of an HTML form (GitHub, "Webhook events and
// payloads"; Gitea, "Webhooks").
func formPayload(header http.Header, body []byte) ([]byte, error) {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return body, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errors.New("the body is not a valid form")
	}
	return []byte(form.Get("payload")), nil
}
