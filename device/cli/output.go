package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"signet/device/cli/control"
)

// report shows a failure: a JSON object under --json, else an error line and,
// if something can be done, a hint line.
func (a *app) report(f *control.Fault) {
	if a.json {
		evidence := any(nil)
		if f.Evidence != "" {
			evidence = f.Evidence
		}
		e := map[string]any{"kind": f.Kind, "message": f.Message, "hint": orNull(f.Hint), "path": orNull(f.Path), "evidence": evidence}
		if f.PathB64 != nil {
			e["path_b64"] = f.PathB64
		}
		writeJSON(a.stderr, map[string]any{"error": e})
		return
	}
	fmt.Fprintf(a.stderr, "error: %s\n", oneLine(f.Message))
	if f.Evidence != "" {
		fmt.Fprintf(a.stderr, "evidence: %s\n", escape(f.Evidence))
	}
	if f.Hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", escape(f.Hint))
	}
}

// oneLine is a message without control characters: what had several lines, as
// errors of several folders do, is told in one.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' })
	for i := range lines {
		lines[i] = escape(strings.TrimSpace(lines[i]))
	}
	return strings.Join(lines, "; ")
}

// hintFor is a hint for one kind of error, else none.
func hintFor(err, kind error, hint string) string {
	if errors.Is(err, kind) {
		return hint
	}
	return ""
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// writeJSON writes one value on one line.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// result shows what a method returned: as it is under --json, else as human
// writes it.
func result[T any](a *app, raw []byte, human func(w io.Writer, v T) error) error {
	a.screen.finish()
	if a.json {
		_, err := a.stdout.Write(append(bytes.TrimSpace(raw), '\n'))
		return err
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	return human(a.stdout, v)
}

// table writes rows in columns below a header. Cells are escaped here.
func table(w io.Writer, header []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = escape(c)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// escape makes text safe for a terminal: control characters, those that turn
// the direction of writing or have no width, and bytes that are not UTF-8 are
// written as escapes, so that a name cannot change what a person sees of
// another.
func escape(s string) string {
	if strings.IndexFunc(s, unsafe) < 0 {
		return s
	}
	var b strings.Builder
	for i, n := 0, 0; i < len(s); i += n {
		var r rune
		r, n = utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unsafe(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// exact is a name for a terminal, from what a result says of it.
func exact(text string, b64 []byte) string {
	if b64 != nil {
		text = string(b64)
	}
	return escape(text)
}

func unsafe(r rune) bool {
	return r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
}
