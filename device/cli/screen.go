package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"signet/device/cli/control"
)

// How often progress is shown: redrawn on a terminal, else as a line.
const (
	barPause  = 100 * time.Millisecond
	linePause = 5 * time.Second
)

// A screen is the control.UI of a command: messages and progress on stderr,
// items on stdout, questions on the controlling terminal.
type screen struct {
	a     *app
	human func(w io.Writer, item []byte) error // how an item is shown without --json
	bar   bool                                 // stderr redraws
	mu    sync.Mutex
	drawn int       // width of the bar on the screen
	last  time.Time // of the last progress
}

func newScreen(a *app) *screen {
	return &screen{a: a, bar: a.isTerminal(a.stderr) && a.getenv("TERM") != "dumb", last: a.now()}
}

// Note implements control.UI.
func (s *screen) Note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.a.quiet {
		return
	}
	s.clear()
	fmt.Fprintln(s.a.stderr, escape(text))
}

// Progress implements control.UI.
func (s *screen) Progress(p control.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pause := linePause
	if s.bar {
		pause = barPause
	}
	now := s.a.now()
	if s.a.quiet || now.Sub(s.last) < pause {
		return
	}
	s.last = now
	text := progressText(p)
	if !s.bar {
		fmt.Fprintln(s.a.stderr, text)
		return
	}
	pad := max(0, s.drawn-len([]rune(text)))
	fmt.Fprint(s.a.stderr, "\r"+text+strings.Repeat(" ", pad))
	s.drawn = len([]rune(text))
}

// progressText is one line: "uploading: 12 of 340 files, 1.2 GiB of 4.0 GiB
// (30 %), 12.0 MiB/s, 3 min 50 s left".
func progressText(p control.Progress) string {
	var parts []string
	of := func(done, total string, known bool) string {
		if known {
			return done + " of " + total
		}
		return done
	}
	if p.Files > 0 || p.FilesTotal > 0 {
		parts = append(parts, of(fmt.Sprint(p.Files), fmt.Sprint(p.FilesTotal), p.FilesTotal > 0)+" files")
	}
	if p.Bytes > 0 || p.BytesTotal > 0 {
		b := of(size(p.Bytes), size(p.BytesTotal), p.BytesTotal > 0)
		if p.BytesTotal > 0 {
			b += fmt.Sprintf(" (%d %%)", int(100*float64(p.Bytes)/float64(p.BytesTotal)))
		}
		parts = append(parts, b)
	}
	if p.Rate > 0 {
		parts = append(parts, size(int64(p.Rate))+"/s")
	}
	if p.ETA > 0 {
		parts = append(parts, span(time.Duration(p.ETA*float64(time.Second)))+" left")
	}
	return escape(p.What) + ": " + strings.Join(parts, ", ")
}

// Item implements control.UI.
func (s *screen) Item(v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	if s.a.json {
		return writeJSON(s.a.stdout, v)
	}
	b, err := json.Marshal(v)
	if err != nil || s.human == nil {
		return err
	}
	return s.human(s.a.stdout, b)
}

// Ask implements control.UI.
func (s *screen) Ask(ctx context.Context, q control.Question) (string, error) {
	s.mu.Lock()
	s.clear()
	s.mu.Unlock()
	return s.a.ask(ctx, q)
}

// finish takes the bar off the screen.
func (s *screen) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
}

func (s *screen) clear() {
	if s.drawn > 0 {
		fmt.Fprint(s.a.stderr, "\r"+strings.Repeat(" ", s.drawn)+"\r")
		s.drawn = 0
	}
}
