package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"signet/device/cli/control"
	"signet/device/engine"

	"github.com/spf13/cobra"
)

// maxLog is the size at which the daemon's log is put aside, as NAME.1, in the
// place of the one that was put aside before.
const maxLog = 10 << 20

// A logFile is the daemon's log: bounded, for the home's owner alone. It never
// leaves the device by itself; it may hold names of folders.
type logFile struct {
	mu   sync.Mutex
	path string
	max  int64
	f    *os.File
	size int64
}

func openLog(path string, max int64) (*logFile, error) {
	l := &logFile{path: path, max: max}
	return l, l.open()
}

func (l *logFile) open() (err error) {
	if l.f, err = os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	info, err := l.f.Stat()
	if err == nil {
		l.size = info.Size()
	}
	return err
}

// Write implements io.Writer; slog calls it once for each line.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(b)) > l.max {
		l.f.Close()
		// Where it cannot be put aside the log goes on in it.
		_ = os.Rename(l.path, l.path+".1")
		if err := l.open(); err != nil {
			return 0, err
		}
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return n, err
}

func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}

// logger writes JSON lines with times in UTC.
func logger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			a.Value = slog.StringValue(control.Time{Time: a.Value.Time()}.String())
		}
		return a
	}}))
}

// watch logs what changes in the states of the service and the volumes, and
// every alarm, until ctx ends.
func watch(ctx context.Context, e *engine.Device, log *slog.Logger) {
	service := ""
	states, alarms := map[string]string{}, map[string]bool{}
	for {
		changed := e.Changed()
		on, err := e.Online()
		now := map[bool]string{true: "online", false: "offline"}[on]
		if now != service && (on || err != nil) {
			service = now
			log.Info("service "+now, reason(err)...)
		}
		for _, a := range e.Alarms() {
			if id := a.Kind + a.Since.String() + a.State; !alarms[id] {
				alarms[id] = true
				if a.State != "" {
					log.Warn("notice", "kind", a.Kind, "state", a.State, "message", a.Message)
					continue
				}
				log.Error("alarm", "kind", a.Kind, "message", a.Message, "evidence", a.Evidence)
			}
		}
		for _, v := range e.Status() {
			if v.State == engine.Scanning || v.State == engine.Syncing || v.State == engine.Verifying {
				continue // on the way to a state that counts
			}
			state := fmt.Sprint(v.State, v.Reason, v.HeldDeletes, len(v.Problems))
			if states[v.Path] != state {
				states[v.Path] = state
				log.Info("folder", "path", v.Path, "region", v.RegionID, "state", v.State, "reason", v.Reason,
					"held_deletes", v.HeldDeletes, "problems", len(v.Problems))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

func reason(err error) []any {
	if err == nil {
		return nil
	}
	return []any{"reason", err.Error()}
}

// log shows the daemon's log.
func (a *app) log() *cobra.Command {
	var follow bool
	cmd := a.command("log [flags]", "Show what the daemon wrote down", 0, 0, func(ctx context.Context, _ []string) error {
		if err := a.dir.Check(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !follow {
			if err := a.showLog(a.dir.LogFile() + ".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		err := a.showLog(a.dir.LogFile())
		if errors.Is(err, fs.ErrNotExist) && !follow {
			return control.Hinted(errors.New("there is no log: no daemon has run in this home"), "signet up starts it")
		}
		if !follow {
			return err
		}
		return a.followLog(ctx)
	})
	cmd.Flags().BoolVar(&follow, "follow", false, "wait for more until interrupted")
	return cmd
}

func (a *app) showLog(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return a.logLines(bufio.NewReader(f))
}

// followPause is how often the log is looked at for more.
const followPause = 200 * time.Millisecond

// followLog shows what is added to the log, also when it was put aside.
func (a *app) followLog(ctx context.Context) error {
	t := time.NewTicker(followPause)
	defer t.Stop()
	var at int64
	if info, err := os.Stat(a.dir.LogFile()); err == nil {
		at = info.Size()
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		b, err := os.ReadFile(a.dir.LogFile())
		if err != nil {
			continue
		}
		if int64(len(b)) < at {
			at = 0 // a new one
		}
		whole := b[at : at+int64(bytes.LastIndexByte(b[at:], '\n')+1)]
		at += int64(len(whole))
		if err := a.logLines(bufio.NewReader(bytes.NewReader(whole))); err != nil {
			return err
		}
	}
}

// logLines writes lines as they are under --json, else for a person. What is
// no JSON (a crash) is shown as it is.
func (a *app) logLines(r *bufio.Reader) error {
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			var m map[string]any
			text := strings.TrimSuffix(string(line), "\n")
			if json.Unmarshal(line, &m) != nil {
				if a.json {
					if err := writeJSON(a.stdout, map[string]string{"msg": text}); err != nil {
						return err
					}
					continue
				}
			} else if !a.json {
				text = logText(m)
			}
			if !a.json {
				text = escape(text)
			}
			if _, err := fmt.Fprintln(a.stdout, text); err != nil {
				return err
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// logText is a line of the log for a person: local time, message, the rest.
func logText(m map[string]any) string {
	t, _ := time.Parse(time.RFC3339Nano, fmt.Sprint(m["time"]))
	text := t.Local().Format("2006-01-02 15:04:05") + "  "
	if level := fmt.Sprint(m["level"]); level != "INFO" {
		text += level + " "
	}
	text += fmt.Sprint(m["msg"])
	var keys []string
	for k, v := range m {
		if k != "time" && k != "level" && k != "msg" && v != "" && v != 0.0 {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		text += fmt.Sprintf("  %s=%v", k, m[k])
	}
	return text
}
