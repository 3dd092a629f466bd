package transport

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"signet"
)

// A Kind is the stable name of an error: on the wire, in --json output and in
// logs. Kinds are added, never renamed.
type Kind string

// Kinds that a service answers.
const (
	KindNotFound    Kind = "not_found"       // signet.ErrNotFound
	KindConflict    Kind = "conflict"        // signet.ErrConflict
	KindNotAllowed  Kind = "not_allowed"     // signet.ErrNotAllowed: role, policy
	KindQuota       Kind = "quota"           // signet.ErrNotAllowed: the region's owner has no room left
	KindExpired     Kind = "expired"         // signet.ErrNotAllowed: the invitation ran out
	KindNotEnrolled Kind = "not_enrolled"    // signet.ErrNotAllowed: the device is unknown or revoked
	KindStale       Kind = "stale"           // signet.ErrStale
	KindClock       Kind = "clock"           // the device's clock and the service's differ too much; both are named
	KindMissing     Kind = "missing_objects" // an entry names objects that are not there; see Error.Missing
	KindTooLarge    Kind = "too_large"       // over a size limit
	KindInvalid     Kind = "invalid"         // what was offered does not verify or breaks a rule
	KindBadRequest  Kind = "bad_request"     // not a request of this protocol
	KindRate        Kind = "rate"            // signet.ErrUnavailable: too many requests
	KindRecovering  Kind = "recovering"      // signet.ErrUnavailable: restored, waits for re-offers
	KindUnavailable Kind = "unavailable"     // signet.ErrUnavailable: going down, or not ready
	KindInternal    Kind = "internal"        // signet.ErrUnavailable: the service's own fault
)

// Kinds that a client finds by itself (the certificate's also the service, when
// a device shows it one that is not its own). All are signet.ErrUnavailable.
const (
	KindUnreachable Kind = "unreachable" // no connection, or it was cut
	KindCertificate Kind = "certificate" // the peer fails TLS or has another certificate than pinned
	KindNotSignet   Kind = "not_signet"  // the peer does not speak this protocol: a captive portal, a proxy
)

// kinds says for each kind which sentinel it is and its HTTP status.
var kinds = map[Kind]struct {
	sentinel error
	status   int
}{
	KindNotFound:    {signet.ErrNotFound, http.StatusNotFound},
	KindConflict:    {signet.ErrConflict, http.StatusConflict},
	KindNotAllowed:  {signet.ErrNotAllowed, http.StatusForbidden},
	KindQuota:       {signet.ErrNotAllowed, http.StatusForbidden},
	KindExpired:     {signet.ErrNotAllowed, http.StatusForbidden},
	KindNotEnrolled: {signet.ErrNotAllowed, http.StatusUnauthorized},
	KindStale:       {signet.ErrStale, http.StatusConflict},
	KindClock:       {nil, http.StatusConflict},
	KindMissing:     {nil, http.StatusConflict},
	KindTooLarge:    {nil, http.StatusRequestEntityTooLarge},
	KindInvalid:     {nil, http.StatusUnprocessableEntity},
	KindBadRequest:  {nil, http.StatusBadRequest},
	KindRate:        {signet.ErrUnavailable, http.StatusTooManyRequests},
	KindRecovering:  {signet.ErrUnavailable, http.StatusServiceUnavailable},
	KindUnavailable: {signet.ErrUnavailable, http.StatusServiceUnavailable},
	KindInternal:    {signet.ErrUnavailable, http.StatusInternalServerError},
	KindUnreachable: {signet.ErrUnavailable, 0},
	KindCertificate: {signet.ErrUnavailable, http.StatusMisdirectedRequest},
	KindNotSignet:   {signet.ErrUnavailable, 0},
}

// ErrNotEnrolled is what a Backend returns for a device that it does not know
// or that was revoked. It is signet.ErrNotAllowed, and ends the connection.
var ErrNotEnrolled error = &Error{
	Kind:    KindNotEnrolled,
	Message: "this device is not enrolled here or was revoked",
	Hint:    "enrol again with a new invitation or link",
}

// An Error is a failure with a stable kind. A Backend returns one to say
// exactly what a device gets to see; a Client returns one for every failure
// that is not the context's or the caller's own.
type Error struct {
	Kind    Kind
	Message string            // one line, no names, no keys
	Hint    string            // what to do, or empty
	Missing []signet.ObjectID // of KindMissing: the objects to upload first
	Request string            // the service's id of the request, for its logs; or empty

	// cause is what happened below, for the message alone: a caller that asks
	// for context.DeadlineExceeded must not find a network's timeout.
	cause error
}

// Error is the message, and what the service called the request.
func (e *Error) Error() string {
	s := e.Message
	if s == "" {
		s = string(e.Kind)
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	if e.Request != "" && e.Kind == KindInternal {
		s += " (request " + e.Request + ")"
	}
	return s
}

// Is makes errors.Is find the sentinel that the kind stands for, and any other
// Error of the same kind.
func (e *Error) Is(target error) bool {
	if t, ok := target.(*Error); ok {
		return t.Kind == e.Kind
	}
	s := kinds[e.Kind].sentinel
	return s != nil && s == target
}

// ErrorKind, ErrorHint and MissingObjects are for callers that may not import
// this package and look for an interface with errors.As.
func (e *Error) ErrorKind() string { return string(e.Kind) }

// ErrorHint is Hint.
func (e *Error) ErrorHint() string { return e.Hint }

// MissingObjects is Missing.
func (e *Error) MissingObjects() []signet.ObjectID { return e.Missing }

// Errorf makes an Error of a kind for a Backend to return.
func Errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns a copy of e with a hint.
func (e *Error) WithHint(hint string) *Error {
	c := *e
	c.Hint = hint
	return &c
}

// MissingObjects is the refusal of an entry that names objects which the
// service lacks.
func MissingObjects(ids []signet.ObjectID) *Error {
	return &Error{Kind: KindMissing, Message: fmt.Sprintf("%d objects of the entry are not stored", len(ids)), Missing: ids}
}

// answerOf is what a device gets to see of a Backend's error. The text of an
// unknown error stays here: it may name a path or a query.
func answerOf(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, signet.ErrNotFound):
		return &Error{Kind: KindNotFound, Message: err.Error()}
	case errors.Is(err, signet.ErrConflict):
		return &Error{Kind: KindConflict, Message: err.Error()}
	case errors.Is(err, signet.ErrNotAllowed):
		return &Error{Kind: KindNotAllowed, Message: err.Error()}
	case errors.Is(err, signet.ErrStale):
		return &Error{Kind: KindStale, Message: err.Error()}
	case errors.Is(err, signet.ErrNotVerified):
		return &Error{Kind: KindInvalid, Message: err.Error()}
	case errors.Is(err, signet.ErrUnavailable), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{Kind: KindUnavailable, Message: "the service cannot answer now"}
	}
	return &Error{Kind: KindInternal, Message: "the service met an internal error"}
}

// errorBody is the JSON of an error.
type errorBody struct {
	Error struct {
		Kind    Kind     `json:"kind"`
		Message string   `json:"message"`
		Hint    string   `json:"hint,omitempty"`
		Missing []string `json:"missing,omitempty"`
		Request string   `json:"request,omitempty"`
	} `json:"error"`
}

func encodeError(e *Error, request string) []byte {
	var b errorBody
	b.Error.Kind, b.Error.Message, b.Error.Hint, b.Error.Request = e.Kind, e.Message, e.Hint, request
	for _, id := range e.Missing {
		b.Error.Missing = append(b.Error.Missing, id.String())
	}
	j, err := json.Marshal(b)
	if err != nil { // strings always marshal
		panic(err)
	}
	return j
}

// decodeError reads an error body. A kind that this client does not know, or
// one that only a client may find, is the service's own fault.
func decodeError(body []byte) (*Error, error) {
	var b errorBody
	if err := json.Unmarshal(body, &b); err != nil {
		return nil, err
	}
	if b.Error.Kind == "" {
		return nil, errors.New("error body without a kind")
	}
	e := &Error{Kind: b.Error.Kind, Message: oneLine(b.Error.Message), Hint: oneLine(b.Error.Hint), Request: oneLine(b.Error.Request)}
	if kinds[e.Kind].status == 0 {
		e.Message = oneLine(fmt.Sprintf("%s: %s", e.Kind, e.Message))
		e.Kind = KindInternal
	}
	if len(b.Error.Missing) > MaxIDs {
		return nil, errors.New("error body with too many objects")
	}
	for _, s := range b.Error.Missing {
		id, err := signet.ParseObjectID(s)
		if err != nil {
			return nil, err
		}
		e.Missing = append(e.Missing, id)
	}
	return e, nil
}

// oneLine makes the service's words harmless on a terminal and in a log: no
// control characters, at most 500 bytes.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
	if len(s) > 500 {
		s = s[:500]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
		s += "…"
	}
	return s
}
