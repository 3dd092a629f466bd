package control

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// lastWords is how long a call that was ended from within may go on writing to
// a command that does not read.
const lastWords = time.Second

// Within are the methods, whose calls end when ctx does. What then fails for
// it fails with ctx's cause. No call outlives ctx for long: not for a question
// that nobody answers, and not for a command that reads nothing.
func (m Methods) Within(ctx context.Context) Methods {
	in := Methods{}
	for name, f := range m {
		in[name] = func(call context.Context, params json.RawMessage, ui UI) (any, error) {
			call, cancel := context.WithCancel(call)
			defer cancel()
			stop := context.AfterFunc(ctx, func() {
				if w, ok := ui.(*wireUI); ok {
					w.hurry()
				}
				cancel()
			})
			defer stop()
			v, err := f(call, params, ui)
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				err = context.Cause(ctx)
			}
			return v, err
		}
	}
	return in
}

// hurry lets what is written from lastWords on fail.
func (u *wireUI) hurry() {
	u.hurried.Store(true)
	_ = u.flush.SetWriteDeadline(time.Now().Add(lastWords))
}

// answer sends the last line. A call that was told to hurry, and then waited for
// others, has its time again.
func (u *wireUI) answer(l line) {
	if u.hurried.Load() {
		u.hurry()
	}
	_ = u.send(l)
}
