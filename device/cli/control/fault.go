package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"signet"
	"signet/device/cli/home"
)

// Exit codes of every command.
const (
	Done        = 0
	Failed      = 1
	Usage       = 2
	NotVerified = 3 // security alarm
	Unreachable = 4 // the service
	Attention   = 5 // finished, but something needs a person
	TimedOut    = 6
	NotAllowed  = 7 // not enrolled, revoked, role, policy, quota
	Interrupted = 130
)

// rank orders codes where several apply: an interruption is said before all,
// but for an alarm; then the contract's 3, 7, 4, 6, 5.
var rank = map[int]int{NotVerified: 9, Interrupted: 8, NotAllowed: 7, Unreachable: 6, TimedOut: 5, Attention: 4, Usage: 3, Failed: 2, Done: 0}

// Worse returns the one of two codes that a command exits with.
func Worse(a, b int) int {
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// A Fault is a failure as a person or a script gets to see it, and as it
// crosses the socket. Kind is stable.
type Fault struct {
	Kind     string `json:"kind"`
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"`
	Path     string `json:"path,omitempty"`
	PathB64  []byte `json:"path_b64,omitempty"`
	Evidence string `json:"evidence,omitempty"`
	Code     int    `json:"code"`
}

func (f *Fault) Error() string         { return f.Message }
func (f *Fault) ErrorKind() string     { return f.Kind }
func (f *Fault) ErrorHint() string     { return f.Hint }
func (f *Fault) ErrorPath() string     { return f.Path }
func (f *Fault) ErrorEvidence() string { return f.Evidence }
func (f *Fault) ExitCode() int         { return f.Code }

// Is makes a fault that came over the socket be what it was: errors.Is finds
// the sentinel of its class.
func (f *Fault) Is(target error) bool {
	for _, c := range classes {
		if c.sentinel == target {
			return c.code == f.Code && (c.code != Failed || c.kind == f.Kind)
		}
	}
	return false
}

// Usagef is a mistake in how a command was called.
func Usagef(format string, args ...any) error {
	return &Fault{Kind: "usage", Message: fmt.Sprintf(format, args...), Code: Usage}
}

// Hinted adds a hint to an error, which keeps its kind and class; an empty one
// changes nothing.
func Hinted(err error, hint string) error {
	if err == nil || hint == "" {
		return err
	}
	return &hinted{err, hint}
}

type hinted struct {
	error
	hint string
}

func (h *hinted) ErrorHint() string { return h.hint }
func (h *hinted) Unwrap() error     { return h.error }

// classes is what errors without a kind of their own become. The first that
// fits holds; alarms come first.
var classes = []struct {
	sentinel error
	kind     string
	code     int
	hint     string
}{
	{signet.ErrNotVerified, "not_verified", NotVerified, "do not trust what the service says until you know why; keep the evidence"},
	{signet.ErrNotAllowed, "not_allowed", NotAllowed, ""},
	{signet.ErrUnavailable, "unreachable", Unreachable, "check the network and the service's address, then try again"},
	{home.ErrHeld, "busy", TimedOut, "wait for the other command, or give --timeout more"},
	{context.DeadlineExceeded, "timeout", TimedOut, "give --timeout more"},
	{context.Canceled, "interrupted", Interrupted, ""},
	{signet.ErrNotFound, "not_found", Failed, ""},
	{signet.ErrConflict, "conflict", Failed, "try again"},
	{signet.ErrStale, "stale", Failed, ""},
	{fs.ErrNotExist, "not_found", Failed, "check the path"},
	{fs.ErrExist, "exists", Failed, "name another place, or move what is there"},
	{fs.ErrPermission, "permission", Failed, "check the permissions of the file or folder"},
	{syscall.ENOSPC, "no_space", Failed, "free some space on the disk, then try again"},
	{syscall.EROFS, "read_only", Failed, "the file system is mounted read-only"},
}

// FaultOf is the one place where an error becomes a kind, a hint and an exit
// code. An error, or one that it wraps, may say itself what it is, with methods
// ErrorKind, ErrorHint, ErrorPath, ErrorEvidence and ExitCode, each a string
// but the last; what it does not say follows from the sentinel that it wraps.
// Of several joined errors the gravest decides.
func FaultOf(err error) *Fault {
	if err == nil {
		return nil
	}
	if f, ok := err.(*Fault); ok {
		c := *f
		return &c
	}
	if parts := split(err); len(parts) > 1 {
		return join(err, parts)
	}
	f := &Fault{Message: err.Error(), Code: Failed, Kind: "failed"}
	for _, c := range classes {
		if errors.Is(err, c.sentinel) {
			f.Kind, f.Code, f.Hint = c.kind, c.code, c.hint
			break
		}
	}
	var code interface{ ExitCode() int }
	if errors.As(err, &code) {
		f.Code = Worse(f.Code, code.ExitCode())
	}
	var kind interface{ ErrorKind() string }
	if errors.As(err, &kind) && kind.ErrorKind() != "" {
		if kind.ErrorKind() != f.Kind {
			f.Hint = ""
		}
		f.Kind = kind.ErrorKind()
	}
	var hint interface{ ErrorHint() string }
	if errors.As(err, &hint) && hint.ErrorHint() != "" {
		f.Hint = hint.ErrorHint()
	}
	var path interface{ ErrorPath() string }
	var perr *fs.PathError
	var inner *Fault
	if errors.As(err, &inner) {
		f.Path, f.PathB64 = inner.Path, inner.PathB64
	} else if errors.As(err, &path) {
		f.setPath(path.ErrorPath())
	} else if errors.As(err, &perr) {
		f.setPath(perr.Path)
	}
	var evidence interface{ ErrorEvidence() string }
	if errors.As(err, &evidence) {
		f.Evidence = evidence.ErrorEvidence()
	}
	return f
}

func (f *Fault) setPath(p string) {
	f.Path, f.PathB64 = Name(p)
}

// split returns the parts of what errors.Join made at the top of err. What
// fmt.Errorf makes with two %w is one error with two causes, and has text of
// its own.
func split(err error) []error {
	j, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	parts := j.Unwrap()
	if err.Error() != errors.Join(parts...).Error() {
		return nil
	}
	return parts
}

func join(err error, parts []error) *Fault {
	var worst *Fault
	for _, p := range parts {
		if f := FaultOf(p); worst == nil || Worse(worst.Code, f.Code) != worst.Code {
			worst = f
		}
	}
	worst.Message = err.Error()
	return worst
}
