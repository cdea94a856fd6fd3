package admission

import (
	stdjson "encoding/json"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// shortestElement is less than the size in bytes of a container, a volume or an entry of managedFields from the API server.
	shortestElement = 24
	// longestList is more elements than fit into an object: etcd stores 1.5 MiB, and a container takes 60 bytes there.
	longestList = 1 << 15
)

// list decodes a JSON array whose elements are as long as those from an API server. Two bytes in a request must not take
// hundreds in memory: any client can reach the webhook's port.
type list[T any] []T

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (l *list[T]) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	opening, err := decoder.ReadToken()
	if err != nil || opening.Kind() == 'n' {
		return err
	}
	if opening.Kind() != '[' {
		return fmt.Errorf("%s where a list is expected", opening.Kind())
	}
	for decoder.PeekKind() != ']' {
		start := decoder.InputOffset()
		var element T
		if err := json.UnmarshalDecode(decoder, &element); err != nil {
			return err
		}
		if length := decoder.InputOffset() - start; length < shortestElement || len(*l) == longestList {
			return fmt.Errorf("element %d of a list, of %d bytes, is not one that an API server sends", len(*l), length)
		}
		*l = append(*l, element)
	}
	_, err = decoder.ReadToken()
	return err
}

// shortestItem is less than the average size in bytes of a field or an element of a Tag.
const shortestItem = 10

// decodeObject decodes a Tag whose elements are as long as those from an API server.
func decodeObject(raw []byte, into any) error {
	if items(raw) > shortestItem+len(raw)/shortestItem {
		return errors.New("it has more elements than an API server sends")
	}
	return stdjson.Unmarshal(raw, into)
}

// items counts the commas of a JSON text outside strings.
func items(raw []byte) int {
	count, inString := 0, false
	for i := 0; i < len(raw); i++ {
		switch {
		case raw[i] == '"':
			inString = !inString
		case inString && raw[i] == '\\':
			i++
		case raw[i] == ',' && !inString:
			count++
		}
	}
	return count
}
