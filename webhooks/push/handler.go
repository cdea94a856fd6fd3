package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/images-io/tagger/internal/reference"
)

const (
	// maxBody bounds the body of a notification, in bytes.
	maxBody = 1 << 20
	// signedBodies and admittedBodies bound the bodies in memory: of requests whose only proof is a signature, so that any client may
	// send them, and of those with a token.
	signedBodies, admittedBodies = 16, 64
	// bodyWait is how long a request waits for others to be read.
	bodyWait = 4 * time.Second
)

// Outcomes of a request: the values of the label "outcome".
const (
	accepted     = "accepted"
	nothingToDo  = "nothing_to_do"
	unauthorized = "unauthorized"
	malformed    = "malformed"
	tooLarge     = "too_large"
	wrongMethod  = "wrong_method"
	unavailable  = "unavailable"
)

// Outcomes are the values of the label "outcome".
var Outcomes = []string{accepted, nothingToDo, unauthorized, malformed, tooLarge, wrongMethod, unavailable}

// UnknownSender is the value of the label "sender" for paths of no sender.
const UnknownSender = "unknown"

// Tokens returns the valid tokens of a sender. It returns false while they are not known.
type Tokens func(sender string) (tokens [][]byte, known bool)

// Notifier makes Tags check their sources.
type Notifier interface {
	// Notify requests a check of each Tag whose source has one of the keys (reference.Key), and returns the number of such Tags.
	// It returns an error while the Tags are not known.
	Notify(keys []string) (tags int, err error)
}

// Handler receives the notifications of senders. NewHandler makes one.
type Handler struct {
	// Senders are the names of the senders that it serves, some of Senders().
	Senders []string
	// Tokens returns the tokens; nil admits every request.
	Tokens   Tokens
	Notifier Notifier
	// Observe is called once for each request.
	Observe func(sender, outcome string)

	signed, admitted *semaphore.Weighted
}

// NewHandler returns a handler for some senders, with the fields of these names.
func NewHandler(senders []string, tokens Tokens, notifier Notifier, observe func(sender, outcome string)) *Handler {
	return &Handler{
		Senders: senders, Tokens: tokens, Notifier: notifier, Observe: observe,
		signed: semaphore.NewWeighted(signedBodies), admitted: semaphore.NewWeighted(admittedBodies),
	}
}

// refusal is a response that is not an acceptance.
type refusal struct {
	status  int
	outcome string
	text    string
}

func (r *refusal) Error() string { return r.text }

var (
	errUnauthorized = &refusal{http.StatusNotFound, unauthorized, "no such path; check the sender's name and the token in the URL"}
	errWrongMethod  = &refusal{http.StatusMethodNotAllowed, wrongMethod, "send notifications with POST"}
	errTooLarge     = &refusal{http.StatusRequestEntityTooLarge, tooLarge, fmt.Sprintf("the notification is larger than %d bytes", maxBody)}
	errUnavailable  = &refusal{http.StatusServiceUnavailable, unavailable, "not ready yet; send the notification again"}
)

// malformedBy returns the refusal of a notification, or of its URL, for a reason without text of the notification.
func malformedBy(reason error) *refusal {
	return &refusal{http.StatusBadRequest, malformed, reason.Error()}
}

// ServeHTTP responds with 202 to every notification that it understands, whether or not a Tag uses the image: the response must
// not reveal which images a cluster runs.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, pathToken := h.route(r.URL.Path)
	hints, err := h.receive(w, r, name, pathToken)
	var refused *refusal
	if err == nil && len(hints) > 0 {
		err = h.notify(r, name, hints)
	}
	switch {
	case errors.As(err, &refused):
		h.Observe(name, refused.outcome)
		http.Error(w, refused.text, refused.status)
		return
	case len(hints) == 0:
		h.Observe(name, nothingToDo)
	default:
		h.Observe(name, accepted)
	}
	w.WriteHeader(http.StatusAccepted)
}

// route returns the sender and the token that a path has. The sender is UnknownSender for any other path.
func (h *Handler) route(path string) (name, token string) {
	rest, _ := strings.CutPrefix(path, "/")
	name, token, _ = strings.Cut(rest, "/")
	for _, served := range h.Senders {
		if name == served && !strings.Contains(token, "/") {
			return name, token
		}
	}
	return UnknownSender, ""
}

// receive authenticates a request and returns its hints. Its error is a *refusal.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request, name, pathToken string) ([]Hint, error) {
	from, isServed := senders[name]
	if !isServed {
		return nil, errUnauthorized
	}
	admitted, verify, err := h.authenticate(from, name, pathToken, r.Header)
	switch {
	case err != nil:
		return nil, err
	case !admitted && (verify == nil || r.Method != http.MethodPost):
		return nil, errUnauthorized
	case r.Method != http.MethodPost:
		return nil, errWrongMethod
	}
	slots := h.admitted
	if !admitted {
		slots = h.signed
	}
	ctx, cancel := context.WithTimeout(r.Context(), bodyWait)
	defer cancel()
	if err := slots.Acquire(ctx, 1); err != nil {
		return nil, errUnavailable
	}
	defer slots.Release(1)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, bodyRefusal(err)
	}
	if verify != nil && !verify(body) {
		return nil, errUnauthorized
	}
	return from.hints(r, body)
}

// authenticate checks the proofs that need no body. It returns a function that checks the signature of the body, nil without
// one. A request with a signature is valid only if the signature is. The error is a *refusal.
func (h *Handler) authenticate(from sender, name, pathToken string, header http.Header) (admitted bool, verify func([]byte) bool, err error) {
	if h.Tokens == nil {
		return pathToken == "", nil, nil
	}
	known, isKnown := h.Tokens(name)
	if !isKnown {
		return false, nil, errUnavailable
	}
	tokens := credentials(known)
	admitted = tokens.admits(pathToken, header)
	signed, value := from.signatureOf(header)
	switch {
	case value == "":
		return admitted, nil, nil
	case signed.mayBeToken && tokens.has(value):
		return true, nil, nil
	default:
		return admitted, func(body []byte) bool { return signed.verify(tokens, value, header, body) }, nil
	}
}

// bodyRefusal returns the refusal of a body that cannot be read.
func bodyRefusal(err error) *refusal {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return errTooLarge
	}
	return malformedBy(errors.New("the body cannot be read"))
}

// hints parses a notification, and puts the registry of the URL in the place of its registry.
func (s sender) hints(r *http.Request, body []byte) ([]Hint, error) {
	given := r.URL.Query().Get("registry")
	if err := validateRegistry(given, s.namesNoRegistry); err != nil {
		return nil, malformedBy(err)
	}
	hints, err := s.parse(r.Header, body)
	if err != nil {
		return nil, malformedBy(err)
	}
	if given == "" {
		return hints, nil
	}
	registry, prefix, hasPrefix := strings.Cut(given, "/")
	for i := range hints {
		hints[i].Registry = registry
		if hasPrefix {
			hints[i].Repository = prefix + "/" + hints[i].Repository
		}
	}
	return hints, nil
}

func validateRegistry(given string, isRequired bool) error {
	if given == "" && isRequired {
		return errors.New("the notifications of this sender name no registry; add ?registry=HOST[:PORT][/PREFIX] to the URL")
	}
	if given == "" {
		return nil
	}
	if _, err := reference.ParseMirror(given, given); err != nil || strings.Contains(given, "://") || strings.HasSuffix(given, "/") {
		return errors.New("the parameter registry is not HOST[:PORT][/PREFIX]")
	}
	return nil
}

// notify passes the hints on.
func (h *Handler) notify(r *http.Request, name string, hints []Hint) error {
	keys := make([]string, 0, len(hints))
	for _, hint := range hints {
		keys = append(keys, reference.Key(hint.Registry, hint.Repository, hint.Tag))
	}
	tags, err := h.Notifier.Notify(keys)
	if err != nil {
		return errUnavailable
	}
	log.FromContext(r.Context()).V(1).Info("push notification received", "sender", name, "images", len(keys), "tags", tags)
	return nil
}
