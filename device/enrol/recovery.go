package enrol

import (
	"bufio"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"signet"
	"signet/core/key"
)

// kitFormat is the number of the recovery kit's format.
const kitFormat = 1

// RecoverySize is the length of a recovery secret in bytes (128 bits).
const RecoverySize = 16

// A RecoveryKit is what a person keeps on paper: with it and nothing else a
// new device enters the member's ring when all others are lost. Whoever reads
// it can do the same.
type RecoveryKit struct {
	Service     string
	Org         signet.OrgID
	Ring        signet.RingID
	LogKeys     signet.Hash
	Certificate signet.Hash // zero where public authorities vouch for the service
	Made        time.Time   // to the second
	Secret      [RecoverySize]byte
}

// NewRecoverySecret draws a recovery secret.
func NewRecoverySecret() (s [RecoverySize]byte) {
	rand.Read(s[:])
	return s
}

// String keeps the secret out of messages.
func (k RecoveryKit) String() string { return "enrol.RecoveryKit(…)" }

// GoString keeps the secret out of messages.
func (k RecoveryKit) GoString() string { return "enrol.RecoveryKit(…)" }

// Seeds are the seeds of the recovery device's signing and encryption pairs.
func (k RecoveryKit) Seeds() (signing, encryption [32]byte) {
	for name, dst := range map[string]*[32]byte{"signing": &signing, "encryption": &encryption} {
		b, err := hkdf.Key(sha256.New, k.Secret[:], k.Ring[:], string(key.LabelRecovery)+"\x00"+name, 32)
		if err != nil {
			panic(err) // only the length can be wrong, and it is a constant
		}
		copy(dst[:], b)
	}
	return signing, encryption
}

// Format writes the kit as text for a file or a sheet of paper.
func (k RecoveryKit) Format() string {
	var b strings.Builder
	b.WriteString("# Signet recovery kit\n" +
		"#\n" +
		"# With this sheet a new device gets at your files when all your devices are\n" +
		"# lost, and so does anybody who reads it. Print it or copy it by hand, keep\n" +
		"# it where you keep papers, and delete the file. To use it:\n" +
		"#   signet login " + k.Service + " --recovery-file FILE\n\n")
	line := func(name, value string) { fmt.Fprintf(&b, "%-13s %s\n", name+":", value) }
	line("format", strconv.Itoa(kitFormat))
	line("service", k.Service)
	line("organisation", k.Org.String())
	line("ring", k.Ring.String())
	line("log keys", hex.EncodeToString(k.LogKeys[:]))
	if k.Certificate != (signet.Hash{}) {
		line("certificate", hex.EncodeToString(k.Certificate[:]))
	}
	line("made", k.Made.UTC().Format(time.RFC3339))
	line("words", Words(k.Secret[:]))
	return b.String()
}

// ParseRecoveryKit reads what Format wrote: lines of a name, a colon and a
// value, each name once, in any order; blank lines and lines that begin with #
// do not count. Errors wrap ErrKit, ErrWords or ErrNewer and never repeat the
// secret, only a word of it that is no word.
func ParseRecoveryKit(text string) (RecoveryKit, error) {
	fields, err := kitFields(text)
	if err != nil {
		return RecoveryKit{}, err
	}
	// The format comes first: what a newer one holds is not ours to judge.
	if n, err := strconv.Atoi(fields["format"]); err != nil || n < 1 {
		return RecoveryKit{}, fmt.Errorf("recovery kit: no format number: %w", ErrKit)
	} else if n > kitFormat {
		return RecoveryKit{}, fmt.Errorf("recovery kit: format %d: %w", n, ErrNewer)
	}
	delete(fields, "format")
	var k RecoveryKit
	readers := []struct {
		name     string
		optional bool
		read     func(string) error
	}{
		{"service", false, func(s string) (err error) { k.Service, err = ServiceURL(s); return }},
		{"organisation", false, func(s string) (err error) { k.Org, err = signet.ParseOrgID(s); return }},
		{"ring", false, func(s string) (err error) { k.Ring, err = signet.ParseRingID(s); return }},
		{"log keys", false, func(s string) error { return parseHash(&k.LogKeys, s) }},
		{"certificate", true, func(s string) error { return parseHash(&k.Certificate, s) }},
		{"made", false, func(s string) (err error) { k.Made, err = time.Parse(time.RFC3339, s); return }},
	}
	for _, r := range readers {
		s, ok := fields[r.name]
		if !ok && !r.optional {
			return RecoveryKit{}, fmt.Errorf("recovery kit: line %q is missing: %w", r.name, ErrKit)
		} else if !ok {
			continue
		}
		if err := r.read(s); err != nil {
			return RecoveryKit{}, fmt.Errorf("recovery kit: line %q is damaged: %w", r.name, ErrKit)
		}
		delete(fields, r.name)
	}
	words, ok := fields["words"]
	if !ok {
		return RecoveryKit{}, fmt.Errorf("recovery kit: line %q is missing: %w", "words", ErrKit)
	}
	delete(fields, "words")
	for name := range fields {
		return RecoveryKit{}, fmt.Errorf("recovery kit: line %q is unknown: %w", name, ErrKit)
	}
	secret, err := ParseWords(words, RecoverySize)
	if err != nil {
		return RecoveryKit{}, fmt.Errorf("recovery kit: %w", err)
	}
	copy(k.Secret[:], secret)
	return k, nil
}

// kitFields takes a kit apart.
func kitFields(text string) (map[string]string, error) {
	fields := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(strings.TrimPrefix(text, "\ufeff")))
	for n := 1; lines.Scan(); n++ {
		l := strings.TrimSpace(lines.Text())
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		name, value, ok := strings.Cut(l, ":")
		name = strings.ToLower(strings.Join(strings.Fields(name), " "))
		if _, twice := fields[name]; !ok || twice {
			return nil, fmt.Errorf("recovery kit: line %d: %w", n, ErrKit)
		}
		fields[name] = strings.TrimSpace(value)
	}
	if lines.Err() != nil || len(fields) == 0 {
		return nil, fmt.Errorf("recovery kit: %w", ErrKit)
	}
	return fields, nil
}

func parseHash(dst *signet.Hash, s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(dst) || *(*signet.Hash)(b) == (signet.Hash{}) {
		return ErrKit
	}
	copy(dst[:], b)
	return nil
}
