package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"rsc.io/qr"

	"signet"
	"signet/device/cli/control"
	"signet/device/cli/home"
	"signet/device/engine"
	"signet/device/owner"
)

// run is what a command line did.
type run struct {
	out, err string
	code     int
}

// person is a terminal at which somebody types given lines.
type person struct {
	io.Reader
	said bytes.Buffer
}

func (p *person) Write(b []byte) (int, error) { return p.said.Write(b) }
func (p *person) Close() error                { return nil }
func (p *person) ReadSecret() (string, error) {
	var b [256]byte
	n, err := p.Read(b[:])
	return string(b[:n]), err
}

// tester is an app in a world of its own.
func tester(t *testing.T, stdin string, who *person) (*app, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	out, errOut := new(bytes.Buffer), new(bytes.Buffer)
	dir := t.TempDir()
	a := &app{world: world{
		stdin: strings.NewReader(stdin), stdout: out, stderr: errOut,
		getenv: func(k string) string {
			return map[string]string{"SIGNET_HOME": filepath.Join(dir, "home"), "SIGNET_KEYRING": "off"}[k]
		},
		now: func() time.Time { return time.Unix(1789000000, 0).UTC() },
		terminal: func() (terminal, error) {
			if who == nil {
				return nil, errors.New("no terminal")
			}
			return who, nil
		},
		isTerminal: func(io.Writer) bool { return false },
	}}
	a.methods = func(context.Context, home.Dir) (control.Methods, io.Closer, error) {
		return control.Methods{}, nil, nil
	}
	return a, out, errOut
}

func do(t *testing.T, args ...string) run {
	t.Helper()
	a, out, errOut := tester(t, "", nil)
	code := a.run(t.Context(), args)
	return run{out.String(), errOut.String(), code}
}

func TestMistakesOfUsageAreOneErrorAndExit2(t *testing.T) {
	for _, line := range []string{
		"bogus", "--nope", "version extra", "completion", "completion tcsh", "help bogus", "--timeout x version",
		"--timeout -1s version", "version --home",
	} {
		r := do(t, strings.Fields(line)...)
		if r.code != control.Usage || r.out != "" || !strings.HasPrefix(r.err, "error: ") || strings.Count(r.err, "error:") != 1 {
			t.Errorf("%s: %+v", line, r)
		}
		r = do(t, append([]string{"--json"}, strings.Fields(line)...)...)
		var e struct {
			Error struct{ Kind, Message string }
		}
		if err := json.Unmarshal([]byte(r.err), &e); err != nil || e.Error.Kind != "usage" || e.Error.Message == "" || r.code != control.Usage {
			t.Errorf("--json %s: %+v, %v", line, r, err)
		}
	}
}

func TestHelpVersionPathsAndSelfCheckWorkWithoutAHome(t *testing.T) {
	for _, line := range []string{"", "help", "help version", "--help", "version", "paths", "self-check", "completion bash", "completion fish", "completion zsh", "completion powershell"} {
		if r := do(t, strings.Fields(line)...); r.code != control.Done || r.out == "" || r.err != "" {
			t.Errorf("%q: %+v", line, r)
		}
	}
	for _, line := range []string{"version", "paths", "self-check"} {
		r := do(t, line, "--json")
		if !json.Valid([]byte(r.out)) || strings.Count(r.out, "\n") != 1 || r.code != control.Done {
			t.Errorf("%s --json: %+v", line, r)
		}
	}
}

// withCommand runs a command that does f.
func withCommand(t *testing.T, a *app, f func(ctx context.Context) error, args ...string) int {
	t.Helper()
	a.extra = append(a.extra, a.command("do", "", 0, 0, func(ctx context.Context, _ []string) error { return f(ctx) }))
	return a.run(t.Context(), append([]string{"do"}, args...))
}

func TestFailureIsReportedWithKindHintAndCode(t *testing.T) {
	fail := &control.Fault{Kind: "fork", Message: "two \x1b[31mhistories", Hint: "call\nsomebody", Evidence: "e.bin",
		Path: "a\uFFFD", PathB64: []byte("a\xff"), Code: control.NotVerified}
	a, out, errOut := tester(t, "", nil)
	code := withCommand(t, a, func(context.Context) error { return fmt.Errorf("sync: %w", fail) })
	want := "error: sync: two \\x1b[31mhistories\nevidence: e.bin\nhint: call\\nsomebody\n"
	if code != 3 || out.Len() > 0 || errOut.String() != want {
		t.Errorf("%d %q %s", code, out, cmp.Diff(want, errOut.String()))
	}
	a, _, errOut = tester(t, "", nil)
	withCommand(t, a, func(context.Context) error { return fail }, "--json")
	want = `{"error":{"evidence":"e.bin","hint":"call\nsomebody","kind":"fork","message":"two \u001b[31mhistories","path":"a�","path_b64":"Yf8="}}` + "\n"
	if errOut.String() != want {
		t.Error(cmp.Diff(want, errOut.String()))
	}
	for err, code := range map[error]int{
		errors.New("x"): 1, signet.ErrNotVerified: 3, signet.ErrUnavailable: 4, signet.ErrNotAllowed: 7,
		&control.Fault{Code: control.Attention}: 5, context.DeadlineExceeded: 6, nil: 0,
	} {
		a, _, _ := tester(t, "", nil)
		if got := withCommand(t, a, func(context.Context) error { return err }); got != code {
			t.Errorf("%v: exit %d, want %d", err, got, code)
		}
	}
}

func TestTimeoutEndsTheCommandWith6(t *testing.T) {
	a, _, errOut := tester(t, "", nil)
	code := withCommand(t, a, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "--timeout", "1ms")
	if code != control.TimedOut || !strings.Contains(errOut.String(), "--timeout") {
		t.Errorf("exit %d, %s", code, errOut)
	}
}

func TestInterruptionIs130ButNeverHidesAnAlarm(t *testing.T) {
	for err, want := range map[error]int{signet.ErrUnavailable: control.Interrupted, signet.ErrNotVerified: control.NotVerified} {
		a, _, _ := tester(t, "", nil)
		ctx, cancel := context.WithCancel(t.Context())
		a.extra = append(a.extra, a.command("do", "", 0, 0, func(context.Context, []string) error { cancel(); return err }))
		if code := a.run(ctx, []string{"do"}); code != want {
			t.Errorf("%v: exit %d, want %d", err, code, want)
		}
	}
}

func TestQuestionsGoToTheTerminalAndNowhereElse(t *testing.T) {
	q := control.Question{Text: "really\x07?", YesNo: true, Flag: "yes"}
	ask := func(who *person, q control.Question, args ...string) (string, *app, *bytes.Buffer, int) {
		a, _, errOut := tester(t, "yes\n", who)
		var got string
		code := withCommand(t, a, func(ctx context.Context) (err error) { got, err = a.screen.Ask(ctx, q); return err }, args...)
		return got, a, errOut, code
	}
	who := &person{Reader: strings.NewReader("what\nY\n")}
	if got, _, _, code := ask(who, q); got != "yes" || code != 0 || strings.Contains(who.said.String(), "\x07") || strings.Count(who.said.String(), "[Y/n]") != 2 {
		t.Errorf("%q, exit %d, terminal %q", got, code, who.said.String())
	}
	if got, _, errOut, code := ask(nil, q); got != "" || code != control.Usage || !strings.Contains(errOut.String(), "--yes") {
		t.Errorf("without a terminal: %q, exit %d, %s", got, code, errOut)
	}
	if got, _, _, code := ask(nil, q, "--yes"); got != "yes" || code != 0 {
		t.Errorf("--yes: %q, exit %d", got, code)
	}
	q.Must = true
	if got, _, _, code := ask(nil, q, "--yes"); got != "" || code != control.Usage {
		t.Errorf("--yes where a person must answer: %q, exit %d", got, code)
	}
	q.NoYes = true
	if got, _, _, _ := ask(&person{Reader: strings.NewReader("\n")}, q); got != "no" {
		t.Errorf("Enter alone: %q", got)
	}
	if _, _, _, code := ask(&person{Reader: strings.NewReader("a\nb\nc\nd\n")}, q); code != control.Usage {
		t.Errorf("nonsense: exit %d", code)
	}
}

func TestQuestionEndsWithItsContext(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	a, _, _ := tester(t, "", &person{Reader: r})
	code := withCommand(t, a, func(ctx context.Context) error {
		_, err := a.screen.Ask(ctx, control.Question{Text: "name?"})
		return err
	}, "--timeout", "1ms")
	if code != control.TimedOut {
		t.Errorf("exit %d", code)
	}
}

func TestProgressIsALineEveryFiveSecondsOrABar(t *testing.T) {
	p := control.Progress{What: "uploading", Files: 12, FilesTotal: 340, Bytes: 3 << 29, BytesTotal: 4 << 30, Rate: 12 << 20, ETA: 230}
	const text = "uploading: 12 of 340 files, 1.5 GiB of 4.0 GiB (37 %), 12.0 MiB/s, 3 min 50 s left"
	for _, bar := range []bool{false, true} {
		now := time.Unix(0, 0)
		a, _, errOut := tester(t, "", nil)
		a.now = func() time.Time { return now }
		a.isTerminal = func(io.Writer) bool { return bar }
		withCommand(t, a, func(context.Context) error {
			for range 100 { // ten seconds
				now = now.Add(100 * time.Millisecond)
				a.screen.Progress(p)
			}
			return nil
		})
		want := strings.Repeat(text+"\n", 2)
		if bar {
			want = strings.Repeat("\r"+text, 100) + "\r" + strings.Repeat(" ", len(text)) + "\r"
		}
		if diff := cmp.Diff(want, errOut.String()); diff != "" {
			t.Errorf("bar %v: %s", bar, diff)
		}
	}
}

func TestQuietSaysNothingButErrors(t *testing.T) {
	a, _, errOut := tester(t, "", nil)
	withCommand(t, a, func(context.Context) error { a.screen.Note("hi"); return nil }, "--quiet")
	if errOut.Len() > 0 {
		t.Errorf("%s", errOut)
	}
}

func TestNamesCannotChangeWhatATerminalShows(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünïcode 名": "plain ünïcode 名", "a\x1b[2Jb": `a\x1b[2Jb`, "a\nb\tc\r": `a\nb\tc\r`, "a\xffb": `a\xffb`,
		"x\u202etxt.exe": `x\u202etxt.exe`, "a\u200bb": `a\u200bb`, "\x7f\u009b": `\x7f\u009b`, "\u2028": `\u2028`, "'\"": "'\"",
		"\uFFFD": `\ufffd`,
	} {
		if got := escape(in); got != want {
			t.Errorf("%q is shown as %s, want %s", in, got, want)
		}
	}
	var b bytes.Buffer
	table(&b, []string{"A", "B"}, [][]string{{"x\ny", "z\t"}, {"long name", "q"}})
	if want := "A          B\nx\\ny       z\\t\nlong name  q\n"; b.String() != want {
		t.Error(cmp.Diff(want, b.String()))
	}
}

func TestTimesAndDurationsAreReadAsPeopleWriteThem(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 9, 14, 12, 0, 0, 0, zone)
	for in, want := range map[string]string{
		"2026-09-12T16:30:00Z": "2026-09-12T16:30:00Z", "2026-09-12T16:30:00.5+02:00": "2026-09-12T14:30:00.5Z",
		"2026-09-12 16:30": "2026-09-12T14:30:00Z", "2026-09-12 16:30:05": "2026-09-12T14:30:05Z", "2026-09-12": "2026-09-11T22:00:00Z",
		"2h": "2026-09-14T08:00:00Z", "3d": "2026-09-11T10:00:00Z", "1w ago": "2026-09-07T10:00:00Z", " 90m ago ": "2026-09-14T08:30:00Z",
	} {
		got, err := parseTime(in, now)
		if err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %v, %v; want %s", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "yesterday", "-2h", "3x", "d", "2026-13-01", "1e9d", "NaNd", "12:00"} {
		if got, err := parseTime(bad, now); err == nil {
			t.Errorf("%q is %v", bad, got)
		} else if control.FaultOf(err).Code != control.Usage {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSizesAndSpansAreShort(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB", 140 << 30: "140.0 GiB", 1<<63 - 1: "8.0 EiB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0 s", 59 * time.Second: "59 s", 61 * time.Second: "1 min 1 s", 25 * time.Hour: "1 d 1 h"} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestTimesInResultsHaveNanoseconds(t *testing.T) {
	b, _ := json.Marshal([]control.Time{control.Milliseconds(1), {}})
	if string(b) != `["1970-01-01T00:00:00.001000000Z",null]` {
		t.Errorf("%s", b)
	}
}

func TestStatusCheckExitsAsSyncAndWaitDo(t *testing.T) {
	for state, want := range map[engine.State]int{engine.InStep: control.Done, engine.Starved: control.Unreachable, engine.Offline: control.Unreachable,
		engine.Held: control.Attention, engine.Stopped: control.Attention, engine.ReadOnly: control.NotAllowed, engine.AlarmedAt: control.NotVerified} {
		code := control.Done
		if f := control.FaultOf(checkStatus(owner.Status{Volumes: []owner.VolumeStatus{{VolumeStatus: engine.VolumeStatus{State: state}}}})); f != nil {
			code = f.Code
		}
		if code != want {
			t.Errorf("%s: exit %d, want %d", state, code, want)
		}
	}
}

func TestWaitGivesUpAfterAMinuteUnlessToldOtherwise(t *testing.T) {
	for line, want := range map[string]time.Duration{"wait": time.Minute, "wait --timeout 5m": 5 * time.Minute, "wait --timeout 0": 0} {
		a, _, errOut := tester(t, "", nil)
		var got time.Duration
		a.methods = func(context.Context, home.Dir) (control.Methods, io.Closer, error) {
			return control.Methods{"wait": control.Typed(func(ctx context.Context, _ struct{}, _ control.UI) (any, error) {
				if end, ok := ctx.Deadline(); ok {
					got = time.Until(end).Round(time.Minute)
				}
				return owner.SyncResult{}, nil
			})}, nil, nil
		}
		if code := a.run(t.Context(), strings.Fields(line)); code != 0 || got != want {
			t.Errorf("%s waits %v, exit %d, %s; want %v", line, got, code, errOut, want)
		}
	}
}

func TestQRCodeIsDrawnModuleByModule(t *testing.T) {
	text := "https://box.example:8443/#d" + strings.Repeat("A", 230)
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	showQR(&b, text)
	// Each character is two modules, one above the other; light is drawn. The
	// first line's lower half and the first column are the quiet zone.
	light := map[rune][2]bool{' ': {false, false}, '▀': {true, false}, '▄': {false, true}, '█': {true, true}}
	at := map[[2]int]bool{}
	for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		for x, c := range []rune(line) {
			halves, ok := light[c]
			if !ok {
				t.Fatalf("%q is drawn", c)
			}
			for half, l := range halves {
				at[[2]int{x - 1, 2*(i-1) + half}] = l
			}
		}
	}
	for y := -1; y <= code.Size; y++ {
		for x := -1; x <= code.Size; x++ {
			drawn, ok := at[[2]int{x, y}]
			if black := !drawn; !ok || black != code.Black(x, y) { // outside of the code it is white
				t.Fatalf("module %d, %d: drawn %v, black %v; want %v", x, y, ok, black, code.Black(x, y))
			}
		}
	}
}

func TestMethodsAreFoundThroughTheHome(t *testing.T) {
	a, out, _ := tester(t, "", nil)
	a.methods = func(_ context.Context, d home.Dir) (control.Methods, io.Closer, error) {
		if _, err := os.Stat(d.LockFile()); err != nil {
			return nil, nil, err
		}
		return control.Methods{"m": control.Typed(func(_ context.Context, s string, ui control.UI) (any, error) {
			return map[string]string{"got": s}, ui.Item(1)
		})}, nil, nil
	}
	code := withCommand(t, a, func(ctx context.Context) error {
		raw, err := a.call(ctx, "m", "x")
		if err != nil {
			return err
		}
		return result(a, raw, func(io.Writer, map[string]string) error { return nil })
	}, "--json")
	if code != 0 || out.String() != "1\n{\"got\":\"x\"}\n" {
		t.Errorf("exit %d, %q", code, out)
	}
}
