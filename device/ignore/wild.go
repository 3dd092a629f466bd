package ignore

import "strings"

// A token is a part of a pattern with wildcards.
type token struct {
	kind kind
	lit  byte
	set  *[256]bool
}

type kind uint8

const (
	literal kind = iota
	set          // one byte of a set
	star         // any bytes but "/"
	all          // any bytes
	maybe        // what comes next, or nothing of it
	folders      // any bytes and a "/" after them
)

// compile reads a pattern, as a path or as a name; bad says why nothing can fit
// it.
func compile(s string, path bool) (out []token, bad string) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\\':
			if i++; i == len(s) {
				return nil, "ends with a backslash, which protects nothing"
			}
			out = append(out, token{kind: literal, lit: s[i]})
		case '?':
			out = append(out, token{kind: set, set: anyByte})
		case '[':
			t, n, bad := compileSet(s[i:])
			if bad != "" {
				return nil, bad
			}
			out = append(out, t)
			i += n - 1
		case '*':
			first := i
			for i+1 < len(s) && s[i+1] == '*' {
				i++
			}
			t := token{kind: star}
			// Two stars are more than one only where they are all of a name.
			if after := s[i+1:]; path && i > first && (first == 0 || s[first-1] == '/') {
				switch {
				case strings.HasPrefix(after, "/"):
					out = append(out, token{kind: maybe})
					t.kind = folders
					i++
				case after == "", strings.HasPrefix(after, `\/`):
					t.kind = all
				}
			}
			out = append(out, t)
		default:
			out = append(out, token{kind: literal, lit: c})
		}
	}
	return out, ""
}

var anyByte = func() *[256]bool {
	var s [256]bool
	for c := range s {
		s[c] = c != '/'
	}
	return &s
}()

const unclosed = "has a [ without its ]"

// compileSet reads a set and says how long it is.
func compileSet(s string) (t token, n int, bad string) {
	var m [256]bool
	i := 1
	not := i < len(s) && (s[i] == '!' || s[i] == '^')
	if not {
		i++
	}
	before := -1 // the byte that a range may begin with
	for first := true; ; first = false {
		if i >= len(s) {
			return t, 0, unclosed
		}
		c := s[i]
		if c == ']' && !first {
			break
		}
		switch {
		case c == '\\':
			if i++; i >= len(s) {
				return t, 0, unclosed
			}
			before = int(s[i])
			m[s[i]] = true
		case c == '-' && before > 0 && i+1 < len(s) && s[i+1] != ']':
			i++
			if s[i] == '\\' {
				if i++; i >= len(s) {
					return t, 0, unclosed
				}
			}
			for k := before; k <= int(s[i]); k++ {
				m[k] = true
			}
			before = -1
		case c == '[' && i+1 < len(s) && s[i+1] == ':':
			end := strings.IndexByte(s[i+2:], ']')
			if end < 0 {
				return t, 0, unclosed
			}
			name, ok := strings.CutSuffix(s[i+2:i+2+end], ":")
			if !ok { // an ordinary set with these two in it
				m['['], before = true, '['
				break
			}
			in := classes[name]
			if in == nil {
				return t, 0, "has no class [:" + name + ":] of characters"
			}
			for k := range 128 {
				m[k] = m[k] || in(byte(k))
			}
			i += 2 + end
			before = -1
		default:
			m[c] = true
			before = int(c)
		}
		i++
	}
	for c := range m {
		m[c] = m[c] != not && c != '/'
	}
	return token{kind: set, set: &m}, i + 1, ""
}

// classes are those of ASCII, as git has them.
var classes = map[string]func(c byte) bool{
	"alnum":  func(c byte) bool { return letter(c) || digit(c) },
	"alpha":  letter,
	"blank":  func(c byte) bool { return c == ' ' || c == '\t' },
	"cntrl":  func(c byte) bool { return c < ' ' || c == 0x7f },
	"digit":  digit,
	"graph":  func(c byte) bool { return c > ' ' && c < 0x7f },
	"lower":  func(c byte) bool { return 'a' <= c && c <= 'z' },
	"print":  func(c byte) bool { return c >= ' ' && c < 0x7f },
	"punct":  func(c byte) bool { return c > ' ' && c < 0x7f && !letter(c) && !digit(c) },
	"space":  func(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' },
	"upper":  func(c byte) bool { return 'A' <= c && c <= 'Z' },
	"xdigit": func(c byte) bool { return digit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' },
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }

// fit reports whether tokens fit all of s. It follows every way at once: so
// many stars as there are, each byte is looked at once.
func fit(tokens []token, s string) bool {
	var small [2][64]bool // most patterns are short
	now, next := small[0][:], small[1][:]
	if len(tokens) >= len(now) {
		now, next = make([]bool, len(tokens)+1), make([]bool, len(tokens)+1)
	}
	n := len(tokens)
	now[0] = true
	for i := 0; ; i++ {
		live := false
		for k := range n { // what may fit nothing
			if now[k] {
				live = true
				switch tokens[k].kind {
				case star, all:
					now[k+1] = true
				case maybe:
					now[k+1], now[k+2] = true, true
				}
			}
		}
		if i == len(s) {
			return now[n]
		}
		if !live {
			return false
		}
		c := s[i]
		clear(next[:n+1])
		for k := range n {
			if !now[k] {
				continue
			}
			switch t := &tokens[k]; t.kind {
			case literal:
				next[k+1] = next[k+1] || c == t.lit
			case set:
				next[k+1] = next[k+1] || t.set[c]
			case star:
				next[k] = next[k] || c != '/'
			case all:
				next[k] = true
			case folders:
				next[k] = true
				next[k+1] = next[k+1] || c == '/'
			}
		}
		now, next = next, now
	}
}
