// Package control is the road between a command and whoever owns the home: the
// daemon, over a socket in the home, or the command's own process.
//
// It promises that a method behaves alike on both roads: the same parameters,
// the same questions and progress, the same result, the same kind of error;
// that only this user's processes get an answer; and that a daemon which dies
// midway is an error, never a result. It does not know what a method does.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sort"
)

// A UI is how a running method talks to the person, or script, that called it.
// Its methods may be called from several goroutines.
type UI interface {
	// Note shows a message, one line.
	Note(text string)
	// Progress shows how far the method is. It never blocks for long.
	Progress(p Progress)
	// Item gives one value of a stream of results.
	Item(v any) error
	// Ask asks a question and returns the answer.
	Ask(ctx context.Context, q Question) (string, error)
}

// A Progress says how far something is.
type Progress struct {
	What       string  `json:"what"`                  // "uploading", "scanning"
	Files      int64   `json:"files"`                 // done
	FilesTotal int64   `json:"files_total,omitempty"` // 0: not known
	Bytes      int64   `json:"bytes"`                 // done
	BytesTotal int64   `json:"bytes_total,omitempty"` // 0: not known
	Rate       float64 `json:"rate,omitempty"`        // bytes a second
	ETA        float64 `json:"eta_seconds,omitempty"` // 0: not known
}

// A Question is what only a person can answer.
type Question struct {
	Text   string `json:"text"`
	YesNo  bool   `json:"yes_no,omitempty"`   // answered "yes" or "no"; --yes answers yes
	NoYes  bool   `json:"no_yes,omitempty"`   // with YesNo: Enter alone means no
	Secret bool   `json:"secret,omitempty"`   // not shown while typed
	Flag   string `json:"flag,omitempty"`     // the flag that answers it where nobody can be asked
	Must   bool   `json:"must_ask,omitempty"` // --yes does not answer it
}

// A Method does something for a command. Its result and its parameters are
// JSON values.
type Method func(ctx context.Context, params json.RawMessage, ui UI) (any, error)

// Methods are what an owner of a home can do, by name.
type Methods map[string]Method

// Names lists the methods, sorted.
func (m Methods) Names() []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Typed makes a Method of a function with typed parameters. Parameters that it
// does not know are an error: a newer command would think them obeyed.
func Typed[P any](f func(ctx context.Context, p P, ui UI) (any, error)) Method {
	return func(ctx context.Context, params json.RawMessage, ui UI) (any, error) {
		var p P
		d := json.NewDecoder(bytes.NewReader(params))
		d.DisallowUnknownFields()
		if err := d.Decode(&p); err != nil {
			return nil, Usagef("parameters: %v", err)
		}
		return f(ctx, p, ui)
	}
}

// A Node carries out methods.
type Node interface {
	// Call runs a method and returns its result, a JSON value.
	Call(ctx context.Context, method string, params any, ui UI) (json.RawMessage, error)
	// Remote reports whether a daemon carries them out.
	Remote() bool
	Close() error
}

// local runs methods in this process.
type local struct {
	methods Methods
	closer  io.Closer
}

// Local is a Node in this process. Close closes c, which may be nil.
func Local(m Methods, c io.Closer) Node { return &local{m, c} }

func (l *local) Remote() bool { return false }

func (l *local) Close() error {
	if l.closer == nil {
		return nil
	}
	return l.closer.Close()
}

func (l *local) Call(ctx context.Context, method string, params any, ui UI) (json.RawMessage, error) {
	p, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return l.methods.run(ctx, method, p, ui)
}

// run is the one dispatch: of a command's own process and of the daemon.
func (m Methods) run(ctx context.Context, method string, params json.RawMessage, ui UI) (json.RawMessage, error) {
	f, ok := m[method]
	if !ok {
		return nil, &Fault{Kind: "version", Code: Failed, Message: "no method " + method + " here",
			Hint: "the daemon is of another version: signet down, then signet up"}
	}
	v, err := f(ctx, params, ui)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%s: result: %w", method, err)
	}
	return b, nil
}
