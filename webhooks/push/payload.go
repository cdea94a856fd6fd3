package push

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// A parser returns the hints of a notification, none for an event that is not a push of an image. It is pure. Its error is one
// sentence that says what is wrong, without text of the notification.
type parser func(header http.Header, body []byte) ([]Hint, error)

// decode decodes a JSON object.
func decode(body []byte, into any) error {
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return errors.New("the body is not a JSON object")
	}
	err := json.Unmarshal(body, into)
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType):
		return fmt.Errorf("the field %s has the wrong type", wrongType.Field)
	case err != nil:
		return errors.New("the body is not valid JSON")
	}
	return nil
}
