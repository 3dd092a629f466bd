package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"

	"signet/device/cli/control"
)

// A terminal is where a person answers questions: the controlling one, whatever
// stdin and stdout are.
type terminal interface {
	io.ReadWriteCloser
	// ReadSecret reads a line without showing it.
	ReadSecret() (string, error)
}

// openTerminal opens the controlling terminal.
func openTerminal() (terminal, error) {
	if runtime.GOOS == "windows" {
		in, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		out, err := os.OpenFile("CONOUT$", os.O_RDWR, 0)
		if err != nil {
			in.Close()
			return nil, err
		}
		return &tty{in, out}, nil
	}
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &tty{f, f}, nil
}

type tty struct{ in, out *os.File }

func (t *tty) Read(p []byte) (int, error)  { return t.in.Read(p) }
func (t *tty) Write(p []byte) (int, error) { return t.out.Write(p) }

func (t *tty) Close() error {
	if t.out != t.in {
		t.out.Close()
	}
	return t.in.Close()
}

func (t *tty) ReadSecret() (string, error) {
	b, err := term.ReadPassword(int(t.in.Fd()))
	fmt.Fprintln(t.out)
	return string(b), err
}

// isTerminal reports whether w shows what is written to it to a person.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// maxAsk is how often a question with a nonsensical answer is put again.
const maxAsk = 3

// ask puts a question to the person at the controlling terminal. Without one,
// or without a person (--json), it fails and names the flag that answers.
func (a *app) ask(ctx context.Context, q control.Question) (string, error) {
	if q.YesNo && a.yes && !q.Must {
		return "yes", nil
	}
	t, err := a.terminal()
	if err != nil {
		return "", a.nobody(q)
	}
	defer t.Close()
	lines := bufio.NewReader(t)
	for range maxAsk {
		fmt.Fprint(t, escape(q.Text)+" "+choices(q))
		text, err := readLine(ctx, t, lines, q.Secret)
		if err != nil {
			return "", err
		}
		if !q.YesNo {
			return text, nil
		}
		if a, ok := yesNo(text, q.NoYes); ok {
			return a, nil
		}
	}
	return "", control.Usagef("no answer to: %s", q.Text)
}

// needPerson fails where a question that will come could not be answered.
func (a *app) needPerson(question string) error {
	if a.yes {
		return nil
	}
	t, err := a.terminal()
	if err != nil {
		return a.nobody(control.Question{Text: question, Flag: "yes"})
	}
	return t.Close()
}

func (a *app) nobody(q control.Question) error {
	hint := "run it on a terminal"
	if q.Flag != "" {
		hint = "use --" + q.Flag
	}
	return control.Hinted(control.Usagef("nobody to ask, there is no terminal: %s", q.Text), hint)
}

func choices(q control.Question) string {
	switch {
	case q.YesNo && q.NoYes:
		return "[y/N] "
	case q.YesNo:
		return "[Y/n] "
	}
	return ""
}

func yesNo(text string, defaultNo bool) (answer string, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "y", "yes":
		return "yes", true
	case "n", "no":
		return "no", true
	case "":
		if defaultNo {
			return "no", true
		}
		return "yes", true
	}
	return "", false
}

// readLine reads one line, or returns when ctx ends. The reading that is then
// left behind ends with the terminal, which the caller closes, or the process.
func readLine(ctx context.Context, t terminal, lines *bufio.Reader, secret bool) (string, error) {
	type read struct {
		text string
		err  error
	}
	done := make(chan read, 1)
	go func() {
		var r read
		if secret {
			r.text, r.err = t.ReadSecret()
		} else {
			r.text, r.err = lines.ReadString('\n')
		}
		done <- r
	}()
	select {
	case r := <-done:
		if r.err != nil && r.text == "" {
			return "", fmt.Errorf("terminal: %w", r.err)
		}
		return strings.TrimRight(r.text, "\r\n"), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
