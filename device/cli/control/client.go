package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"signet/device/cli/home"
)

// openPause is how often Open asks again while somebody else has the home.
const openPause = 25 * time.Millisecond

// Open finds who carries out methods on a home: its daemon if there is one,
// else this process, which then owns the home until the Node is closed. It
// waits until ctx ends where another command owns it (the error wraps
// home.ErrHeld then), and calls waiting, if not nil, once before it does.
// inProcess makes the methods of this process; it is called
// only with the lock held.
func Open(ctx context.Context, d home.Dir, waiting func(), inProcess func(context.Context) (Methods, io.Closer, error)) (Node, error) {
	t := time.NewTicker(openPause)
	defer t.Stop()
	for {
		// The daemon first: while it lives, the lock is not to be had.
		if n, err := Connect(ctx, d); err == nil {
			return n, nil
		} else if f := (*Fault)(nil); errors.As(err, &f) {
			return nil, err
		}
		lock, err := d.TryLock()
		if err == nil {
			return owning(ctx, lock, inProcess)
		}
		if !errors.Is(err, home.ErrHeld) {
			return nil, err
		}
		// A command has it, or a daemon that does not answer yet.
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", err, ctx.Err())
		case <-t.C:
		}
	}
}

func owning(ctx context.Context, lock *home.Lock, inProcess func(context.Context) (Methods, io.Closer, error)) (Node, error) {
	m, c, err := inProcess(ctx)
	if err != nil {
		lock.Unlock()
		return nil, err
	}
	return Local(m, closers{c, unlocker{lock}}), nil
}

type closers []io.Closer

func (all closers) Close() error {
	var errs []error
	for _, c := range all {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

type unlocker struct{ l *home.Lock }

func (u unlocker) Close() error { return u.l.Unlock() }

// Connect reaches the home's daemon; an error that is no Fault where there is
// none.
func Connect(ctx context.Context, d home.Dir) (Node, error) {
	n := &remote{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, d) },
	}}}
	if _, err := n.ping(ctx); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// remote runs methods in the daemon.
type remote struct{ http *http.Client }

func (n *remote) Remote() bool { return true }

func (n *remote) Close() error {
	n.http.CloseIdleConnections()
	return nil
}

func (n *remote) ping(ctx context.Context) (hello, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://signet/v1/ping", nil)
	if err != nil {
		return hello{}, err
	}
	resp, err := n.http.Do(req)
	if err != nil {
		return hello{}, err
	}
	defer resp.Body.Close()
	var h hello
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&h); err != nil {
		return hello{}, fmt.Errorf("control socket: %w", err)
	}
	if h.Signet != protocol {
		return hello{}, &Fault{Kind: "version", Code: Failed,
			Message: fmt.Sprintf("the daemon of this home is Signet %s, this command another version", h.Version),
			Hint:    "start the daemon anew: signet down, then signet up"}
	}
	return h, nil
}

func (n *remote) post(ctx context.Context, path string, v any) (*http.Response, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", "http://signet"+path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	// Never sent twice: a call that got half way is not one that did not
	// happen.
	req.GetBody = nil
	return n.http.Do(req)
}

func (n *remote) Call(ctx context.Context, method string, params any, ui UI) (json.RawMessage, error) {
	p, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	// The call's context also ends the answers to its questions.
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	resp, err := n.post(ctx, "/v1/call", call{method, p})
	if err != nil {
		return nil, died(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: the daemon answered %s", method, resp.Status)
	}
	d := json.NewDecoder(resp.Body)
	for {
		var l line
		if err := d.Decode(&l); err != nil {
			return nil, died(ctx, err)
		}
		switch {
		case l.Error != nil:
			return nil, l.Error
		case l.Result != nil:
			return l.Result, nil
		case l.Note != nil:
			ui.Note(*l.Note)
		case l.Progress != nil:
			ui.Progress(*l.Progress)
		case l.Item != nil:
			if err := ui.Item(l.Item); err != nil {
				return nil, err
			}
		case l.Ask != nil:
			// Asking must not stop the reading: the daemon may end the call
			// while a person thinks.
			asking.Go(func() { n.ask(ctx, *l.Ask, ui) })
		}
	}
}

// ask puts a question of the daemon to the person and posts the answer.
func (n *remote) ask(ctx context.Context, q asked, ui UI) {
	a := answer{ID: q.ID}
	var err error
	if a.Text, err = ui.Ask(ctx, q.Question); err != nil {
		a.Error = FaultOf(err)
	}
	if resp, err := n.post(ctx, "/v1/answer", a); err == nil {
		resp.Body.Close()
	}
}

// died is the error of a call whose answer stopped: ours if we stopped it.
func died(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &Fault{Kind: "daemon_ended", Code: Failed, Message: fmt.Sprintf("%v: %v", errDied, err),
		Hint: "whatever it had finished is kept; run the command again"}
}
