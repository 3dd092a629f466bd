package control

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"signet/device/cli/home"
)

// protocol is the number of the conversation over the socket. It changes when
// a command and a daemon of two versions could misunderstand each other.
const protocol = 1

// Limits of the conversation.
const (
	maxRequest    = 16 << 20
	progressPause = 100 * time.Millisecond // between two reports of progress
	drain         = 5 * time.Second        // for running methods when the daemon ends
)

// hello answers a ping.
type hello struct {
	Signet  int    `json:"signet"` // protocol
	Version string `json:"version"`
	PID     int    `json:"pid"`
}

// call is what a command sends.
type call struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// line is one line of the answer: one field is set. The last line has Result
// or Error.
type line struct {
	Note     *string         `json:"note,omitempty"`
	Progress *Progress       `json:"progress,omitempty"`
	Item     json.RawMessage `json:"item,omitempty"`
	Ask      *asked          `json:"ask,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *Fault          `json:"error,omitempty"`
}

// asked is a question with the name under which its answer comes back.
type asked struct {
	ID string `json:"id"`
	Question
}

// answer is what a command posts for a question.
type answer struct {
	ID    string `json:"id"`
	Text  string `json:"text"`
	Error *Fault `json:"error,omitempty"`
}

// Serve carries out methods for the commands that come to the home's socket,
// until ctx ends; then it lets running methods see that (their context ends)
// and returns. The caller holds the home's lock. ready, if not nil, is called
// when commands are answered.
func Serve(ctx context.Context, d home.Dir, m Methods, version string, ready func()) error {
	l, err := listen(d)
	if err != nil {
		return err
	}
	s := &server{methods: m, version: version, waiting: map[string]chan answer{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/ping", s.ping)
	mux.HandleFunc("POST /v1/call", func(w http.ResponseWriter, r *http.Request) {
		// A method ends with its command, and with the daemon.
		callCtx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		s.call(callCtx, w, r)
	})
	mux.HandleFunc("POST /v1/answer", s.answer)
	h := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(l) }()
	if ready != nil {
		ready()
	}
	select {
	case err := <-ended:
		return fmt.Errorf("control socket: %w", err)
	case <-ctx.Done():
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := h.Shutdown(late); err != nil {
		h.Close()
	}
	<-ended
	return nil
}

type server struct {
	methods Methods
	version string
	mu      sync.Mutex
	waiting map[string]chan answer // questions without an answer yet
}

func (s *server) ping(w http.ResponseWriter, _ *http.Request) {
	json.NewEncoder(w).Encode(hello{protocol, s.version, os.Getpid()})
}

func (s *server) call(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	var c call
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&c); err != nil {
		http.Error(w, "not a call", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	u := &wireUI{s: s, w: w, flush: http.NewResponseController(w)}
	// The command waits for the first line before it shows anything: send
	// the header now, so that it knows the call has begun.
	u.flush.Flush()
	result, err := s.methods.run(ctx, c.Method, c.Params, u)
	if err != nil {
		u.answer(line{Error: FaultOf(err)})
		return
	}
	u.answer(line{Result: result})
}

func (s *server) answer(w http.ResponseWriter, r *http.Request) {
	var a answer
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&a); err != nil {
		http.Error(w, "not an answer", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	c := s.waiting[a.ID]
	delete(s.waiting, a.ID)
	s.mu.Unlock()
	if c == nil {
		http.Error(w, "nobody asked", http.StatusNotFound)
		return
	}
	c <- a // has room for one
}

// wireUI is the UI of a method that a daemon runs.
type wireUI struct {
	s       *server
	flush   *http.ResponseController
	hurried atomic.Bool
	mu      sync.Mutex
	w       http.ResponseWriter
	last    time.Time // of the last progress
}

func (u *wireUI) send(l line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, err := u.w.Write(append(b, '\n')); err != nil {
		return err
	}
	return u.flush.Flush()
}

func (u *wireUI) Note(text string) { _ = u.send(line{Note: &text}) }

func (u *wireUI) Progress(p Progress) {
	u.mu.Lock()
	now := time.Now()
	soon := now.Sub(u.last) < progressPause
	if !soon {
		u.last = now
	}
	u.mu.Unlock()
	if !soon {
		_ = u.send(line{Progress: &p})
	}
}

func (u *wireUI) Item(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return u.send(line{Item: b})
}

func (u *wireUI) Ask(ctx context.Context, q Question) (string, error) {
	id, c := rand.Text(), make(chan answer, 1)
	u.s.mu.Lock()
	u.s.waiting[id] = c
	u.s.mu.Unlock()
	defer func() {
		u.s.mu.Lock()
		delete(u.s.waiting, id)
		u.s.mu.Unlock()
	}()
	if err := u.send(line{Ask: &asked{id, q}}); err != nil {
		return "", err
	}
	select {
	case a := <-c:
		if a.Error != nil {
			return "", a.Error
		}
		return a.Text, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

var errDied = errors.New("the daemon ended before it answered")
